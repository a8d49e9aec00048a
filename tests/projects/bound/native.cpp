#include <{header}>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <string>
{macro}(native, m) {{
  m.def("half", [](int n) {{
    if (n % 2) throw std::out_of_range("odd");
    std::ostringstream text;
    text << n / 2 << std::filesystem::path("/a/b").filename();
    return text.str().size();
  }});
}}
