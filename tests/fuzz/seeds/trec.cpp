#include "fuzz/seeds.hpp"

#include <string>

// The first byte: 0 for judgements, 1 for a run.
FLASHBACK_FUZZ_SEEDS(trec) {
    const auto add = [&](const char* name, const std::string& text) { seeds.push_back({name, text}); };
    add("trec",
        "0\xef\xbb\xbf"
        "1 0 d1 2\r\n\n1\t0\td2\t-1\n2 0 d1 0");
    add("beir", "0query-id\tcorpus-id\tscore\n1\td1\t2\n");
    add("no_judgement", "0query-id corpus-id score\n");
    add("judged_twice", "01 0 \x1b\xff 1\n1 0 \x1b\xff 1\n");
    add("grade_no_number", "01 0 d 1.5\n");
    add("grade_too_large", "01 0 d 99999999999\n");
    add("judgement_cut", "01 0 d 1\n1 0 e\n");
    add("judgement_longer", "01 0 d 1 1 1 1 1 1\n");
    add("run", "11 Q0 d1 1 0.5 t\r\n1 Q0 d2 2 5e-1 t\n\n2 Q0 d1 1 -1e300 t");
    add("no_result", "1");
    add("found_twice", "11 Q0 d 1 2 t\n1 Q0 d 2 1 t\n");
    add("score_nan", "11 Q0 d 1 nan t\n");
    add("score_infinite", "11 Q0 d 1 1e999 t\n");
    add("run_cut", "11 Q0 d 1 2 t\n1 Q0 e 2\n");
    add("run_longer", "11 Q0 d 1 2 t u\n");
    add("nothing", "");
}
