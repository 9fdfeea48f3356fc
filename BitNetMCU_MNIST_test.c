/* Classifies the ten embedded test images with the exported network and compares every logit with
 * what Python computed. Exits 0 when all are equal, 1 otherwise. */

#include <stdio.h>
#include <string.h>

#define BITNETMCU_MODEL_IMPLEMENTATION
#include "BitNetMCU_model.h"

#include "BitNetMCU_MNIST_test_data.h"

#ifndef BITNETMCU_PIECES /* runs for one answer: windows of a stream come piece by piece */
#define BITNETMCU_PIECES 1
#endif

int main(void) {
    int differing = 0, correct = 0;
    unsigned i, k, row = 0;

    if (strcmp(BITNETMCU_CHECKPOINT_SHA256, BITNETMCU_TEST_CHECKPOINT_SHA256) != 0) {
        printf("network and test images are of different checkpoints; run exportquant.py again\n");
        return 1;
    }
    printf("network %s, %d test images\n", BITNETMCU_MODEL_NAME, BITNETMCU_TEST_IMAGES);
    for (i = 0; i < BITNETMCU_TEST_IMAGES; i++) {
        int32_t logits[BITNETMCU_CLASSES];
        unsigned prediction = 0, label = BitNetMCU_test_labels[i];

        for (k = 0; k < BITNETMCU_PIECES; k++)
            prediction = BitNetMCU_infer(BitNetMCU_test_inputs[row++], logits);

        for (k = 0; k < BITNETMCU_CLASSES; k++)
            differing += logits[k] != BitNetMCU_test_logits[i][k];
        correct += prediction == label;
        printf("image %u: label %u, predicted %u%s\n", i, label, prediction,
               prediction == label ? "" : "  <- misread");
    }
    printf("images=%d correct=%d differing_logits=%d\n", BITNETMCU_TEST_IMAGES, correct, differing);
    return differing != 0;
}
