// JPEG of 8 bits by libjpeg-turbo: decoding a gray picture, and encoding it with quality 90.
#include "measure.hpp"
#include <turbojpeg.h>

int main(int count, char **arguments) {
  const Frame frame = frameOf(count, arguments);
  Bytes out(frame.count());
  tjhandle decoder = tjInitDecompress();
  measure("decode", frame.runs, [&] {
    if (tjDecompress2(decoder, frame.codestream.data(), frame.codestream.size(), out.data(), frame.columns, 0, frame.rows,
                      TJPF_GRAY, 0) != 0)
      throw std::runtime_error(tjGetErrorStr2(decoder));
  });
  tjhandle encoder = tjInitCompress();
  measure("encode", frame.runs, [&] {
    unsigned char *encoded = nullptr;
    unsigned long length = 0;
    if (tjCompress2(encoder, frame.pixels.data(), frame.columns, 0, frame.rows, TJPF_GRAY, &encoded, &length, TJSAMP_GRAY,
                    90, 0) != 0)
      throw std::runtime_error(tjGetErrorStr2(encoder));
    tjFree(encoded);
  });
}
