"""Numbers that Python reads from the C."""

from compiler.csource import constants

SOURCE = """
#define TWENTY 20 /* of something */
#  define MASK 0x0fu
#define SUM (TWENTY + 1)
#define TIMES(x) 3
#if TWENTY
#define EITHER 1
#else
#define EITHER 0
#endif
enum { FIRST, PAIR = 7, HALF = PAIR / 2, /* GONE = 8, */ LAST = 9 };
typedef enum kind { ONE = 1 } Kind;
"""


def test_constants_are_the_numbers_of_defines_and_enums(tmp_path):
    (tmp_path / "a.h").write_text(SOURCE)
    found = constants(tmp_path / "a.h")
    assert found == {"TWENTY": 20, "MASK": 15, "PAIR": 7, "LAST": 9, "ONE": 1}
