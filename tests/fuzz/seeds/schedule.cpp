#include "fuzz/seeds.hpp"

FLASHBACK_FUZZ_SEEDS(schedule) {
    const auto seed = [&](const char* name, std::string text) { seeds.push_back({name, std::move(text)}); };
    seed("all_names",
         "any(never,once,stride:16,entropy:2.0,margin:0.1,surprisal:4,entropy-z:2,margin-z:2,surprisal-z:2,backoff:16,sentence)"
         "\nlast:32");
    seed("methods", "any(flare(theta:0.8,beta:0.4,look-ahead:64),dragin:1.0,etc(alpha:1.3,words:35),ircot)");
    seed("self_rag", "self-rag(retrieve:5,no-retrieve:6,delta:0.2)\nsentence");
    seed("bounded", "at-most(8,budget(4,all(stride:4,surprisal:2)))\nattention:25");
    seed("spaces", " any ( stride : 64 ,\tentropy : 3 ) \n masked : 0.4 ");
    seed("empty", "");
    seed("cut", "any(stride:64,entropy");
    seed("number", "entropy:1e400");
    seed("negative", "entropy:-1");
    seed("deep", std::string(500, '(') + "once");
    std::string deep = "once";
    for (int i = 0; i < 15; ++i) deep = "all(" + deep + ")";
    seed("deepest", deep);
    seed("too_deep", "all(" + deep + ")");
    std::string many = "any(flare";
    for (int i = 0; i < 63; ++i) many += ",flare";
    seed("many", many + ")");
    std::string too_many = "any(once";
    while (too_many.size() < 1020) too_many += ",once";
    seed("too_many", too_many + ")");
    seed("long", std::string(1 << 16, 'a'));
    seed("unprintable", std::string("on\0ce\xff\x1b", 7));
}
