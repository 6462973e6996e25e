/* With libFuzzer nobody asks what a target said of its input (fuzz.h). */
#include "tests/fuzz/fuzz.h"

bool fuzz_good;
