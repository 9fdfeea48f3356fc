/* For fast.h and assembly. tinyengine/linear.py reads these numbers, too. */

#define TE_LINEAR_SHIFT 11 /* fraction bits of what TE_LINEAR rounds */
#define TE_SUM_SHIFT 8     /* of a sum, as TE_LINEAR multiplies it */
