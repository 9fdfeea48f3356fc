/* Vectors and reset of a Cortex-M0. */

    .syntax unified
    .thumb

    .section .init, "ax"
    .globl  _start
vectors:
    .word   __stack_top
    .word   _start
    .fill   14, 4, 0                /* the demo uses no interrupt; entry 0 faults again and stops */

    .thumb_func
    .type   _start, %function
_start:
    ldr     r0, =__data_start       /* .data, then .bss, which follows it */
    ldr     r1, =__data_end
    ldr     r2, =__data_load
    b       2f
1:  ldm     r2!, {r3}
    stm     r0!, {r3}
2:  cmp     r0, r1
    blo     1b
    ldr     r1, =__bss_end
    movs    r3, #0
    b       4f
3:  stm     r0!, {r3}
4:  cmp     r0, r1
    blo     3b
    bl      main
5:  b       5b
    .size   _start, . - _start
    .set    frame._start, 0         /* bytes of stack, for mcu/budget.py */
    .pool
