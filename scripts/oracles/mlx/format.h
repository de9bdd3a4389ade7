// `std::format` for standard libraries without it, as far as MLX's C interface uses it: every `{}` is one value, in order.
// Included before each of its files (-include). Must stay empty where the library has its own.
#pragma once
#if defined(__cplusplus)
#include <version>
#if !defined(__cpp_lib_format)
#include <sstream>
#include <string>
#include <string_view>

namespace std {
inline void lp_format(ostringstream& out, string_view text) { out << text; }

template <typename First, typename... Rest>
void lp_format(ostringstream& out, string_view text, const First& first, const Rest&... rest) {
  const auto place = text.find("{}");
  if (place == string_view::npos) {
    out << text;
    return;
  }
  out << text.substr(0, place) << first;
  lp_format(out, text.substr(place + 2), rest...);
}

template <typename... Values>
string format(string_view text, const Values&... values) {
  ostringstream out;
  lp_format(out, text, values...);
  return out.str();
}
} // namespace std
#endif
#endif
