/* The compiled models of tflite_batch.py. */
#include "record.h"

enum { MOST = 64 }; /* inputs or outputs of a model */

typedef struct {
    void (*inputs)(void **to);
    void (*outputs)(const void **to); /* runs it */
    uint32_t input_count, output_count;
    const uint32_t *input_bytes, *output_bytes;
} Model;

extern const Model models[];
extern const uint32_t model_count, repeats;
