# From where a boot loader by the Multiboot2 protocol leaves the processor, with 32 bits and without paging, to `main` with 64 bits,
# where the first 4 GiB of addresses are physical ones.

.section .header, "a"
.align 8
header:
    .long 0xe85250d6, 0, header_end - header, -(0xe85250d6 + (header_end - header))
    .short 0, 0 # the last tag
    .long 8
header_end:

.section .text.start, "ax"
.code32
.global start
start:
    mov esp, offset stack_end
    mov edi, ebx # what the boot loader has to say

    # Tables: one of level 4, one of level 3 of which 4 entries are used, 4 of level 2, whose pages have 2 MiB.
    xor eax, eax
    mov ecx, 6 * 4096 / 4
    mov edx, edi
    mov edi, offset level_4
    rep stosd
    mov edi, edx
    mov dword ptr [level_4], offset level_3 + 3
    mov ecx, 4
1:  mov eax, ecx
    dec eax
    shl eax, 12
    add eax, offset level_2 + 3
    mov [level_3 + ecx * 8 - 8], eax
    loop 1b
    mov ecx, 4 * 512
2:  mov eax, ecx
    dec eax
    shl eax, 21
    or eax, 0x83
    mov [level_2 + ecx * 8 - 8], eax
    loop 2b

    mov eax, offset level_4
    mov cr3, eax
    mov eax, cr4
    or eax, 1 << 5 # PAE
    mov cr4, eax
    mov ecx, 0xc0000080 # EFER
    rdmsr
    or eax, 1 << 8 # long mode
    wrmsr
    mov eax, cr0
    or eax, 1 << 31 # paging
    mov cr0, eax
    lgdt [descriptors_at]
    push 8
    mov eax, offset long_mode
    push eax
    retf

.code64
long_mode:
    xor eax, eax
    mov ss, eax
    mov ds, eax
    mov es, eax
    mov edi, edi
    call {main}

.section .rodata.start, "a"
.align 8
descriptors:
    .quad 0, 0x00af9b000000ffff # code of 64 bits
descriptors_at:
    .short 15
    .long descriptors
