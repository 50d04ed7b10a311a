"""See rows.pyx."""
from libc.stdint cimport uint32_t

from ..core.ip cimport Ip
from .conntrack cimport CtAccount, CtEntry

cdef object connection_row(uint32_t index, const CtEntry *entry, const CtAccount *account, uint32_t now_s)
cdef str ip_text(const Ip *ip)
