// HTJ2K by OpenJPH: decoding, and lossless encoding with RPCL options, into and out of memory.
#include "measure.hpp"
#include <openjph/ojph_arch.h>
#include <openjph/ojph_base.h>
#include <openjph/ojph_mem.h>
#include <openjph/ojph_file.h>
#include <openjph/ojph_params.h>
#include <openjph/ojph_codestream.h>

static void decode(const Frame &frame, std::vector<uint16_t> &out) {
  ojph::mem_infile file;
  file.open(frame.codestream.data(), frame.codestream.size());
  ojph::codestream codestream;
  codestream.read_headers(&file);
  codestream.create();
  uint16_t *to = out.data();
  for (uint32_t row = 0; row < frame.rows; row++) {
    ojph::ui32 component;
    const ojph::si32 *from = codestream.pull(component)->i32;
    for (uint32_t i = 0; i < frame.columns; i++) *to++ = uint16_t(from[i]);
  }
  codestream.close();
}

static void encode(const Frame &frame) {
  ojph::codestream codestream;
  ojph::param_siz size = codestream.access_siz();
  size.set_image_extent(ojph::point(frame.columns, frame.rows));
  size.set_num_components(1);
  size.set_component(0, ojph::point(1, 1), frame.bits, false);
  ojph::param_cod coding = codestream.access_cod();
  coding.set_num_decomposition(frame.columns > 2048 ? 6 : 5);
  coding.set_block_dims(64, 64);
  coding.set_progression_order("RPCL");
  coding.set_color_transform(false);
  coding.set_reversible(true);
  codestream.set_planar(false);
  ojph::mem_outfile file;
  file.open();
  codestream.write_headers(&file);
  const uint16_t *from = reinterpret_cast<const uint16_t *>(frame.pixels.data());
  ojph::ui32 component;
  ojph::line_buf *line = codestream.exchange(nullptr, component);
  for (uint32_t row = 0; row < frame.rows; row++) {
    for (uint32_t i = 0; i < frame.columns; i++) line->i32[i] = *from++;
    line = codestream.exchange(line, component);
  }
  codestream.flush();
  codestream.close();
}

int main(int count, char **arguments) {
  const Frame frame = frameOf(count, arguments);
  std::vector<uint16_t> out(frame.count());
  measure("decode", frame.runs, [&] { decode(frame, out); });
  mustEqual(out.data(), frame.pixels);
  measure("encode", frame.runs, [&] { encode(frame); });
}
