// JPEG-LS by CharLS: decoding, and lossless encoding, into and out of memory.
#include "measure.hpp"
#include <charls/charls.h>

int main(int count, char **arguments) {
  const Frame frame = frameOf(count, arguments);
  std::vector<uint16_t> out(frame.count());
  measure("decode", frame.runs, [&] {
    charls::jpegls_decoder decoder;
    decoder.source(frame.codestream).read_header();
    decoder.decode(out);
  });
  mustEqual(out.data(), frame.pixels);
  measure("encode", frame.runs, [&] {
    charls::jpegls_encoder encoder;
    encoder.frame_info({frame.columns, frame.rows, int32_t(frame.bits), 1});
    Bytes encoded(encoder.estimated_destination_size());
    encoder.destination(encoded);
    encoder.encode(frame.pixels);
  });
}
