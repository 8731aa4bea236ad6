// Two translation units for different processors in one program: each must run its own code.
#include <exception>
#include <iostream>
#include <string>
#include <string_view>

std::string unit_older(const char* model);
std::string unit_newer(const char* model);

int main(int, char** argv) {
    try {
        const std::string older = unit_older(argv[1]);
        const std::string newer = unit_newer(argv[1]);
        std::cout << older << "\n---\n" << newer << '\n';
        const std::string_view wanted_older = argv[2];
        const std::string_view wanted_newer = argv[3];
        return older.starts_with(wanted_older) && newer.starts_with(wanted_newer) && older.size() > wanted_older.size() + 1 &&
                       newer.size() > wanted_newer.size() + 1
                   ? 0
                   : 1;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
