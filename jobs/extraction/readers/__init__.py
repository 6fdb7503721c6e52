"""The readers: each module has ``read(source) -> Reading`` and is imported only in a child.

A reader raises ``Fault`` for causes it can name; any other exception counts as an unreadable
document, because the cage has already excluded that the machine is to blame.
"""
