"""The browser app: a third face over the Logic that the Slicer panels use (layer 3).

It shows and asks; what it shows is made by `VertebraSegmentLib`, `CobbAngleLib` and `SpineSegMRML`.
`spineseg app` finds it by the entry point `spineseg.app`. See docs/app.md.
"""
