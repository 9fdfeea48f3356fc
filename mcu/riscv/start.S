/* Reset and exceptions of QingKe V2 cores (CH32V003, CH32V00x). */

    .section .init, "ax"
    .globl  _start
    .type   _start, @function
_start:                             /* address 0: a jump, then the vectors of the core */
    .option push
    .option norvc
    j       reset
    .option pop
    .word   0
    .word   fault                   /* 2: NMI */
    .word   fault                   /* 3: hard fault */
    .fill   8, 4, 0
    .word   SysTick_Handler         /* 12 */
    .fill   3, 4, 0                 /* 14: software */

    .weak   SysTick_Handler         /* a program's own, or: */
SysTick_Handler:
fault:                              /* stay here, for a debugger to find */
    j       fault

reset:
    la      a0, __stack_top         /* in two steps; sp is always a stack */
    mv      sp, a0
    la      a0, __data_start        /* .data, and the code that runs from SRAM */
    la      a1, __data_end
    la      a2, __data_load
    j       2f
1:  lw      a3, 0(a2)
    sw      a3, 0(a0)
    addi    a2, a2, 4
    addi    a0, a0, 4
2:  bltu    a0, a1, 1b
    la      a1, __bss_end           /* .bss follows .data */
    j       4f
3:  sw      zero, 0(a0)
    addi    a0, a0, 4
4:  bltu    a0, a1, 3b
    .option push
    .option arch, +zicsr
    li      a0, 0x1880              /* machine mode; interrupts on after mret */
    csrw    mstatus, a0
    li      a0, 3                   /* vectors are addresses, in a table at 0 */
    csrw    mtvec, a0
    la      a0, main
    csrw    mepc, a0
    .option pop
    mret
    .size   _start, . - _start
    .set    frame._start, 0         /* bytes of stack, for mcu/budget.py */
