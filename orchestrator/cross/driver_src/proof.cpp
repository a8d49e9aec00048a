// Needs what goes wrong first where headers, start files or libraries do not fit the compiler.
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>

thread_local long double counted = 1;

int main()
{
    std::string said;
    std::thread([&] {
        try {
            throw std::runtime_error(std::filesystem::path("a/proved").filename().string());
        } catch (const std::exception &error) {
            said = counted == 1 ? error.what() : "";
        }
    }).join();
    std::cout << said << std::endl;
    return said == "proved" ? 0 : 1;
}
