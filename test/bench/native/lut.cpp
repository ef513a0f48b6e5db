// What the grayscale pipeline comes to: the range of a frame's values, a table over it, and a look-up for each pixel.
#include "measure.hpp"

static void render(const Frame &frame, Bytes &table, Bytes &out) {
  const uint16_t *from = reinterpret_cast<const uint16_t *>(frame.pixels.data());
  const double center = 1 << (frame.bits - 1), width = 1 << frame.bits;
  const double middle = center - 0.5, span = width - 1;
  uint16_t low = 65535, high = 0;
  for (size_t i = 0; i < frame.count(); i++) {
    low = std::min(low, from[i]);
    high = std::max(high, from[i]);
  }
  for (uint32_t value = low; value <= high; value++) {
    const double gray = ((value - middle) / span + 0.5) * 255;
    table[value] = gray >= 255 ? 255 : gray > 0 ? uint8_t(gray + 0.5) : 0;
  }
  for (size_t i = 0; i < frame.count(); i++) out[i] = table[from[i]];
}

int main(int count, char **arguments) {
  const Frame frame = frameOf(count, arguments);
  Bytes table(65536), out(frame.count());
  measure("decode", frame.runs, [&] { render(frame, table, out); });
}
