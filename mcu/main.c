/* The demo: classifies the built-in images, prints what it sees and how long it takes, and blinks
 * the class. Then it sleeps. */

#include "BitNetMCU_model.h"
#include "chip.h"
#include "demo_images.h"

#ifndef BITNETMCU_PIECES /* runs for one answer: windows of a stream come piece by piece */
#define BITNETMCU_PIECES 1
#endif

/* Global, so that the emulator finds them and can put other images in. */
int8_t BitNetMCU_input[BITNETMCU_INPUTS];
int32_t BitNetMCU_logits[BITNETMCU_CLASSES];

static void print(const char *text) {
    while (*text)
        chip_put(*text++);
}

/* Prints a number without dividing: subtracts powers of ten. */
static void print_number(uint32_t number) {
    static const uint32_t powers[] = {1000000000, 100000000, 10000000, 1000000, 100000,
                                      10000,      1000,      100,      10,      1};
    uint32_t i, started = 0;

    for (i = 0; i < 10; i++) {
        char digit = '0';

        for (; number >= powers[i]; number -= powers[i])
            digit++;
        started |= digit != '0' || i == 9;
        if (started)
            chip_put(digit);
    }
}

/* Unpacks input `index`: for each input one bit that says whether it is not zero; then those that
 * are not. */
static void unpack(uint32_t index) {
    const uint8_t *flags = demo_images + demo_image_starts[index];
    const uint8_t *values = flags + (BITNETMCU_INPUTS + 7) / 8;
    uint32_t i;

    for (i = 0; i < BITNETMCU_INPUTS; i++)
        BitNetMCU_input[i] = flags[i >> 3] >> (i & 7) & 1 ? (int8_t)*values++ : 0;
}

static void blink(uint32_t times) {
    for (; times > 0; times--) {
        chip_led(1);
        chip_wait(BLINK_MS);
        chip_led(0);
        chip_wait(BLINK_MS);
    }
}

int main(void) {
    uint32_t i, row = 0;

    chip_init();
    print("BitNetMCU " BITNETMCU_MODEL_NAME "\r\n");
    for (i = 0; i < DEMO_IMAGES; i++) {
        uint32_t start, prediction, piece;

        for (piece = 1; piece < BITNETMCU_PIECES; piece++) {
            unpack(row++);
            BitNetMCU_infer(BitNetMCU_input, BitNetMCU_logits);
        }
        unpack(row++);
        start = chip_cycles();
        prediction = BitNetMCU_infer(BitNetMCU_input, BitNetMCU_logits);
        start = chip_cycles() - start;
        print("sample ");
        print_number(i);
        print(": predicted ");
        print_number(prediction);
        print(", label ");
        print_number(demo_labels[i]);
        print(", ");
        print_number(start);
        print(" cycles\r\n");
        blink(prediction);
    }
    for (;;)
        chip_sleep();
}
