/* The exported network, in a file of its own: BitNetMCU_infer is not inlined, so that the emulator
 * can call it. */

#define BITNETMCU_MODEL_IMPLEMENTATION
#include "BitNetMCU_model.h"
