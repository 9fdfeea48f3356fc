/* The compiled models of tflite_batch.py. */
#include "record.h"

typedef struct {
    int8_t *(*input)(void);
    const int8_t *(*run)(void);
    uint32_t bytes, output_bytes; /* of the input, of the output */
} Model;

extern const Model models[];
extern const uint32_t model_count, repeats;
