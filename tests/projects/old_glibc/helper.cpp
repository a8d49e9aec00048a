#include <iostream>
#include <stdexcept>
int main() {
  try { throw std::runtime_error("42"); }
  catch (const std::exception &e) { std::cout << "#define NUMBER " << e.what() << std::endl; }
}
