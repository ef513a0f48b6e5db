// JPEG 2000 by OpenJPEG, on one thread: decoding, and lossless encoding, into and out of memory.
#include "measure.hpp"
#include <openjpeg.h>

struct Memory {
  Bytes bytes;
  size_t at = 0;
};

static OPJ_SIZE_T read(void *to, OPJ_SIZE_T wanted, void *data) {
  Memory &memory = *static_cast<Memory *>(data);
  const size_t count = std::min(wanted, memory.bytes.size() - memory.at);
  if (count == 0) return OPJ_SIZE_T(-1);
  std::memcpy(to, memory.bytes.data() + memory.at, count);
  memory.at += count;
  return count;
}

static OPJ_SIZE_T write(void *from, OPJ_SIZE_T count, void *data) {
  Memory &memory = *static_cast<Memory *>(data);
  if (memory.bytes.size() < memory.at + count) memory.bytes.resize(memory.at + count);
  std::memcpy(memory.bytes.data() + memory.at, from, count);
  memory.at += count;
  return count;
}

static OPJ_OFF_T skip(OPJ_OFF_T count, void *data) {
  static_cast<Memory *>(data)->at += count;
  return count;
}

static OPJ_BOOL seek(OPJ_OFF_T to, void *data) {
  static_cast<Memory *>(data)->at = to;
  return OPJ_TRUE;
}

static opj_stream_t *streamOf(Memory &memory, bool isInput) {
  opj_stream_t *stream = opj_stream_default_create(isInput);
  opj_stream_set_user_data(stream, &memory, nullptr);
  opj_stream_set_user_data_length(stream, memory.bytes.size());
  opj_stream_set_read_function(stream, read);
  opj_stream_set_write_function(stream, write);
  opj_stream_set_skip_function(stream, skip);
  opj_stream_set_seek_function(stream, seek);
  return stream;
}

static void must(bool done) {
  if (!done) throw std::runtime_error("OpenJPEG failed");
}

static void decode(const Frame &frame, std::vector<uint16_t> &out) {
  Memory memory{frame.codestream};
  opj_stream_t *stream = streamOf(memory, true);
  opj_codec_t *codec = opj_create_decompress(OPJ_CODEC_J2K);
  opj_dparameters_t parameters;
  opj_set_default_decoder_parameters(&parameters);
  opj_image_t *image = nullptr;
  must(opj_setup_decoder(codec, &parameters) && opj_read_header(stream, codec, &image));
  must(opj_decode(codec, stream, image) && opj_end_decompress(codec, stream));
  for (size_t i = 0; i < out.size(); i++) out[i] = uint16_t(image->comps[0].data[i]);
  opj_image_destroy(image);
  opj_destroy_codec(codec);
  opj_stream_destroy(stream);
}

static void encode(const Frame &frame) {
  opj_cparameters_t parameters;
  opj_set_default_encoder_parameters(&parameters);
  parameters.tcp_numlayers = 1;
  parameters.cp_disto_alloc = 1;
  parameters.tcp_rates[0] = 0;
  opj_image_cmptparm_t component = {};
  component.dx = component.dy = 1;
  component.w = frame.columns;
  component.h = frame.rows;
  component.prec = frame.bits;
  opj_image_t *image = opj_image_create(1, &component, OPJ_CLRSPC_GRAY);
  image->x1 = frame.columns;
  image->y1 = frame.rows;
  const uint16_t *from = reinterpret_cast<const uint16_t *>(frame.pixels.data());
  for (size_t i = 0; i < frame.count(); i++) image->comps[0].data[i] = from[i];
  opj_codec_t *codec = opj_create_compress(OPJ_CODEC_J2K);
  Memory memory;
  opj_stream_t *stream = streamOf(memory, false);
  must(opj_setup_encoder(codec, &parameters, image) && opj_start_compress(codec, image, stream));
  must(opj_encode(codec, stream) && opj_end_compress(codec, stream));
  opj_stream_destroy(stream);
  opj_destroy_codec(codec);
  opj_image_destroy(image);
}

int main(int count, char **arguments) {
  const Frame frame = frameOf(count, arguments);
  std::vector<uint16_t> out(frame.count());
  measure("decode", frame.runs, [&] { decode(frame, out); });
  mustEqual(out.data(), frame.pixels);
  measure("encode", frame.runs, [&] { encode(frame); });
}
