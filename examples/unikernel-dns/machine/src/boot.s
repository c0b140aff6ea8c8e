# From the first instruction to the first of Rust; and what compilers take for granted.
#
# By PVH the machine begins in 32-bit mode without paging, with flat segments, and the address of what is to know in ebx.
# Memory is mapped one to one: the first 4 GiB, in pages of 2 MiB. The first of these has the code and cannot be written;
# all others are data and cannot be run; those of the last GiB are registers of devices and are not cached.

.section .note.Xen, "a", @note
    .balign 4
    .long 4, 8, 18                  # lengths of name and value; XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad entry32

.section .boot, "ax"
.code32
.globl entry32
entry32:
    cli
    cld
    rdtsc
    mov [entry_time], eax
    mov [entry_time + 4], edx
    mov [given], ebx
    mov esp, offset stack_end

    mov edi, offset page_tables     # the root, one table of GiB, four of 2 MiB
    lea eax, [edi + 0x1003]
    mov [edi], eax
    lea eax, [edi + 0x2003]
    mov edx, 4
    lea esi, [edi + 0x1000]
1:  mov [esi], eax
    add eax, 0x1000
    add esi, 8
    dec edx
    jnz 1b

    lea esi, [edi + 0x2000]
    mov dword ptr [esi], 0x81       # present, large
    mov dword ptr [esi + 4], 0
    mov eax, 0x200083               # and writable
    mov ecx, 2047
2:  add esi, 8
    mov edx, eax
    cmp eax, 0xc0000000
    jb 3f
    or edx, 0x18                    # not cached
3:  mov [esi], edx
    mov dword ptr [esi + 4], 0x80000000   # never run
    add eax, 0x200000
    dec ecx
    jnz 2b

    mov cr3, edi
    mov eax, cr4
    or eax, 0x620                   # long page tables; SSE, and its faults
    mov cr4, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x900                   # 64-bit mode; pages that are never run
    wrmsr
    mov eax, cr0
    and eax, 0xfffffff3             # no emulated, no switched floating point
    or eax, 0x80010023              # paging; read-only for us as well; native errors; protected mode
    mov cr0, eax
    lgdt [gdt_place]
    .byte 0xea                      # a far jump into 64-bit mode
    .long entry64
    .word 8

.code64
entry64:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    mov rsp, offset stack_end
    xor ebp, ebp

    mov rax, offset task            # the descriptor of the task has its address in four pieces
    mov [gdt + 26], ax
    shr rax, 16
    mov [gdt + 28], al
    mov [gdt + 31], ah
    mov rax, offset fault_stack_end
    mov [task + 36], rax            # the stack for faults
    mov ax, 24
    ltr ax
    mov edi, [given]
    mov rsi, [entry_time]
    call start
    ud2

# A fault: 32 entries of 16 bytes, each of which puts its number on the stack.
.balign 16
.globl faults
faults:
.set number, 0
.rept 32
    .balign 16
    .if (number == 8) || ((number >= 10) && (number <= 14)) || (number == 17) || (number == 21) || (number == 29) || (number == 30)
    .else
    push 0                          # the others bring an error number themselves
    .endif
    push number
    jmp fault_entry
    .set number, number + 1
.endr

fault_entry:
    pop rdi
    pop rsi
    pop rdx                         # where it happened
    mov rcx, cr2
    cld
    and rsp, -16
    call fault
    ud2

# The timer only wakes: end of interrupt, and back.
.globl timer_entry
timer_entry:
    push rax
    mov eax, 0xfee000b0
    mov dword ptr [rax], 0
    pop rax
    iretq

# Interrupts that nobody asked for.
.globl spurious_entry
spurious_entry:
    iretq

# What compilers take for granted of every system.
.section .text.memory, "ax"
.globl memcpy
memcpy:
    mov rax, rdi
    mov rcx, rdx
    shr rcx, 3
    rep movsq
    mov ecx, edx
    and ecx, 7
    rep movsb
    ret

.globl memmove
memmove:
    mov rcx, rdi
    sub rcx, rsi
    cmp rcx, rdx                    # does the target begin within the source?
    jae memcpy
    mov rax, rdi
    mov rcx, rdx
    lea rdi, [rdi + rdx - 1]
    lea rsi, [rsi + rdx - 1]
    std
    rep movsb
    cld
    ret

.globl memset
memset:
    mov r8, rdi
    movzx eax, sil
    mov rcx, 0x0101010101010101
    imul rax, rcx
    mov rcx, rdx
    shr rcx, 3
    rep stosq
    mov ecx, edx
    and ecx, 7
    rep stosb
    mov rax, r8
    ret

.globl memcmp
.globl bcmp
memcmp:
bcmp:
    xor eax, eax
    mov rcx, rdx
    cmp rax, rcx                    # nothing is equal to nothing
    repe cmpsb
    je 1f
    movzx eax, byte ptr [rdi - 1]
    movzx ecx, byte ptr [rsi - 1]
    sub eax, ecx
1:  ret

.globl strlen
strlen:
    mov rax, -1
1:  inc rax
    cmp byte ptr [rdi + rax], 0
    jne 1b
    ret

.section .data.boot, "aw"
.balign 16
gdt:
    .quad 0
    .quad 0x00af9b000000ffff        # code
    .quad 0x00cf93000000ffff        # data
    .quad 0x0000890000000067        # the task, 104 bytes; its address is filled in
    .quad 0
gdt_place:
    .word gdt_place - gdt - 1
    .quad gdt

.section .bss.boot, "aw", @nobits
.balign 4096
page_tables:
    .skip 0x6000
task:
    .skip 104
    .balign 8
entry_time:
    .skip 8
given:
    .skip 4
