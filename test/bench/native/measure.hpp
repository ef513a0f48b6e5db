// What the programs beside this one have in common: arguments, files, and the least and the median of several runs in milliseconds.
// Usage: program codestream pixels columns rows bits runs; pixels are native cells, little endian, of one sample.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <vector>

using Bytes = std::vector<uint8_t>;

struct Frame {
  Bytes codestream;
  Bytes pixels;
  uint32_t columns, rows, bits;
  int runs;
  size_t count() const { return size_t(columns) * rows; }
};

inline Bytes contents(const char *path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

inline Frame frameOf(int count, char **arguments) {
  if (count != 7) throw std::runtime_error("usage: codestream pixels columns rows bits runs");
  auto number = [&](int i) { return uint32_t(std::strtoul(arguments[i], nullptr, 10)); };
  return {contents(arguments[1]), contents(arguments[2]), number(3), number(4), number(5), int(number(6))};
}

template <typename Work> void measure(const char *name, int runs, Work work) {
  work();
  std::vector<double> times;
  for (int i = 0; i < runs; i++) {
    const auto start = std::chrono::steady_clock::now();
    work();
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  std::printf("%s %.4f %.4f\n", name, times.front(), times[times.size() / 2]);
}

/** A decoder that is fast because it is wrong is no peer. */
inline void mustEqual(const void *decoded, const Bytes &pixels) {
  if (std::memcmp(decoded, pixels.data(), pixels.size()) != 0) throw std::runtime_error("decoded otherwise");
}
