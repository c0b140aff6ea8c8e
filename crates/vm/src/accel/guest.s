# The guest of the accelerator probe: what stops emulated or half-working accelerators, in the order of a kernel's boot.
# It is entered as PVH guests are (Xen's boot protocol: 32-bit, flat segments, paging off) and writes letters to COM1:
#   A alive   L long mode with paging   C lock cmpxchg16b   X xsave and xrstor   M memory moved and summed
# and leaves through isa-debug-exit with 0x2a, which makes qemu's exit status 0x55.
# `cargo test` assembles this file with as(1) and compares the bytes with those in guest.rs.
        .code32
        .globl _start
        .org 0
_start: mov     $stack_top, %esp
        mov     $0x3f8, %dx
        mov     $'A', %al
        out     %al, %dx
        # four levels of page tables: the first GiB, by pages of 2 MiB
        mov     $pml4 + 0, %edi
        xor     %eax, %eax
        mov     $3072, %ecx
        cld
        rep     stosl
        movl    $pdpt + 3, pml4
        movl    $pd + 3, pdpt
        mov     $pd, %edi
        mov     $0x83, %eax
        mov     $512, %ecx
1:      mov     %eax, (%edi)
        add     $0x200000, %eax
        add     $8, %edi
        loop    1b
        mov     %cr4, %eax
        or      $0x620, %eax            # PAE, OSFXSR, OSXMMEXCPT
        mov     %eax, %cr4
        mov     $pml4, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx       # EFER.LME
        rdmsr
        or      $0x100, %eax
        wrmsr
        mov     %cr0, %eax
        and     $0xfffffffb, %eax       # no x87 emulation,
        or      $0x80000003, %eax       # paging, coprocessor monitored
        mov     %eax, %cr0
        lgdt    gdtr
        ljmp    $8, $long
        .code64
long:   mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $'L', %al
        call    put
        # cpuid leaf 1: ecx has bit 13 for cmpxchg16b, bit 26 for xsave
        mov     $1, %eax
        cpuid
        mov     %ecx, %ebp
        bt      $13, %ebp
        jnc     2f
        xor     %eax, %eax
        xor     %edx, %edx
        mov     $1, %ebx
        mov     $2, %ecx
        mov     $scratch, %edi
        mov     %rax, (%rdi)
        mov     %rax, 8(%rdi)
        lock cmpxchg16b (%rdi)
        jnz     fail
        cmpq    $2, 8(%rdi)
        jne     fail
2:      mov     $'C', %al
        call    put
        bt      $26, %ebp
        jnc     3f
        mov     %cr4, %rax
        or      $0x40000, %rax          # OSXSAVE
        mov     %rax, %cr4
        xor     %ecx, %ecx
        xgetbv
        or      $3, %eax                # x87 and SSE
        xsetbv
        mov     $area, %edi
        push    %rdi
        xor     %eax, %eax
        mov     $1024, %ecx
        rep     stosb
        pop     %rdi
        mov     $3, %eax
        xor     %edx, %edx
        xsave   (%rdi)
        mov     $3, %eax
        xrstor  (%rdi)
3:      mov     $'X', %al
        call    put
        # 4 MiB moved by one instruction, and a million rounds of a loop: a boot loader's and a kernel's daily bread
        mov     $0x400000, %esi
        mov     $0x800000, %edi
        mov     $0x80000, %ecx
        rep     movsq
        mov     $1000000, %ecx
        xor     %eax, %eax
4:      add     %rcx, %rax
        xor     %rax, %rdx
        dec     %ecx
        jnz     4b
        mov     $'M', %al
        call    put
        mov     $0x2a, %al
        jmp     leave
fail:   mov     $'!', %al
        call    put
        mov     $0x2b, %al
leave:  mov     $0xf4, %dx
        out     %al, %dx
5:      hlt
        jmp     5b
put:    mov     $0x3f8, %dx
        out     %al, %dx
        ret
        .balign 8
gdt:    .quad   0
        .quad   0x00af9b000000ffff      # code, 64 bits
        .quad   0x00cf93000000ffff      # data
gdtr:   .word   gdtr - gdt - 1
        .long   gdt
        # memory behind the file's bytes
        .set    pml4, 0x110000
        .set    pdpt, 0x111000
        .set    pd, 0x112000
        .set    stack_top, 0x11f000
        .set    scratch, 0x113000
        .set    area, 0x113040
