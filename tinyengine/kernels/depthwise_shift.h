/* For depthwise_conv_2d_3x3.c and assembly. tinyengine/packing_depthwise.py reads this number. */

#define TE_DEPTHWISE_SHIFT 10 /* fraction bits of what a channel that is rounded once rounds */
