"""The library on MRML nodes (layer 2): what the Slicer modules and the browser app share.

Nodes and scenes come in as arguments. Nothing here knows Qt, the application or its scene.
"""
