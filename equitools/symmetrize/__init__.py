"""Make any network equivariant: frames, canonicalization, orbit distance, group averaging.

This room is reserved by the architecture; its functions come with a later release. Nothing here is public yet.
"""
