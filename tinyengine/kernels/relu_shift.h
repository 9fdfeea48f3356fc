/* For fast.h and assembly. tinyengine/packing_winograd.py reads this number, too. */

#define TE_RELU_SHIFT 12 /* fraction bits of what TE_RELU rounds */
