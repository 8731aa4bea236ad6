#include "fuzz/target.hpp"

#include "flashback/policy/parse_schedule.hpp"

#include <string>

using namespace flashback;
using flashback_test::fuzz_check;

// A text is up to its first line break a schedule, and then a query. What is refused is refused as a broken promise of the caller.
FLASHBACK_FUZZ_TARGET(schedule, .per_byte = 4096, .constant = 16384) {
    const std::string_view text = flashback_test::text_of(bytes);
    const std::size_t line = std::min(text.find('\n'), text.size());
    const std::string_view schedule = text.substr(0, line);
    const std::string_view query = text.substr(std::min(line + 1, text.size()));
    const auto text_of = [](TokenId) { return '.'; };
    flashback_test::of_anything([&] {
        AnyMethod method = parse_method(schedule, query, text_of);
        const MethodText once = method.text();
        flashback_test::touch(once.schedule);
        const AnyMethod again = parse_method(once.schedule, once.query, text_of);
        fuzz_check(again.text() == once, "what is printed parses to itself");
        const TokenBuffer prompt{1, 2, 3};
        method.reset();
        const Decision first = method.schedule(StepView{prompt, prompt.size()});
        fuzz_check(first.rewind() == 0, "nothing is taken back before the first token");
        method.query(StepView{prompt, prompt.size()});
        method.rewind(1);
    });
    flashback_test::of_anything([&] { static_cast<void>(parse_schedule(schedule)); });
    flashback_test::of_anything([&] { static_cast<void>(parse_query(query)); });
}
