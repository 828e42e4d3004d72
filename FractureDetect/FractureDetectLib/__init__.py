"""What the FractureDetect module does, apart from its windows.

`Logic` runs wherever MRML does; `Parameters` needs the Slicer application.
"""
