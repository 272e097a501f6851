# From where a CPU begins that is started by another, with 16 bits at the start of a page below 1 MiB, to `other` with 64 bits, on the
# stack that ends at `OTHER_STACK`. It is copied to that page, and goes by the first CPU's tables.

.section .rodata.start_other, "a"
.global start_other
.global start_other_end
.code16
start_other:
    cli
    mov ax, cs
    mov ds, ax
    lgdt [OTHER_DESCRIPTORS]
    mov eax, cr4
    or eax, 1 << 5 # PAE
    mov cr4, eax
    mov eax, offset level_4
    mov cr3, eax
    mov ecx, 0xc0000080 # EFER
    rdmsr
    or eax, 1 << 8 # long mode
    wrmsr
    mov eax, cr0
    or eax, 1 << 31 | 1 # paging and protection
    mov cr0, eax
    .byte 0x66, 0xea # a far jump, with an offset of 32 bits
    .long other_long_mode
    .short 8
.align 8
other_descriptors:
    .quad 0, 0x00af9b000000ffff # code of 64 bits
other_descriptors_at:
    .short 15
    .long 0x8000 + other_descriptors - start_other
start_other_end:
.set OTHER_DESCRIPTORS, other_descriptors_at - start_other

.section .text.start_other, "ax"
.code64
other_long_mode:
    xor eax, eax
    mov ss, eax
    mov ds, eax
    mov es, eax
    mov rsp, [{stack}]
    call {other}
