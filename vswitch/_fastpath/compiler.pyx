"""Which Cython compiled the fast path. Asked of the generated C itself: at run time no Cython need be installed."""

cdef extern from *:
    unsigned int CYTHON_HEX_VERSION     # a byte each for major, minor and patch, then the kind of release

#: as in "3.3.1"
CYTHON_VERSION = ".".join(str(CYTHON_HEX_VERSION >> shift & 0xff) for shift in (24, 16, 8))
