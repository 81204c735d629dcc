// Host of the array: runs the commands on standard input and writes the answers to standard output.
// Both are streams of 32-bit words, least significant byte first; `bench.py` describes them.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "Model.h"
#include "verilated.h"
#ifdef WAVEFORMS
#include "verilated_vcd_c.h"
#endif

namespace {

using Word = std::uint32_t;
enum Command : Word { END, LOAD, RUN, SWAP, READ };
constexpr Word ALL_PES = 0xffffffff;

Word next() {
  Word word = END;
  if (std::fread(&word, sizeof word, 1, stdin) != 1) return END;
  return word;
}

void put(Word word) { std::fwrite(&word, sizeof word, 1, stdout); }

// A port has one of Verilator's integer types, or is an array of words if it is wider than 64 bits.
template <class Port>
Word word_of(const Port& port, unsigned number) {
  return number * 32 < 8 * sizeof(Port) ? static_cast<Word>(static_cast<std::uint64_t>(port) >> (32 * number)) : 0;
}
template <std::size_t Words>
Word word_of(const VlWide<Words>& port, unsigned number) {
  return number < Words ? port.m_storage[number] : 0;
}
template <class Port>
void set(Port& port, const std::vector<Word>& words) {
  std::uint64_t value = words[0];
  if (words.size() > 1) value |= static_cast<std::uint64_t>(words[1]) << 32;
  port = static_cast<Port>(value);
}
template <std::size_t Words>
void set(VlWide<Words>& port, const std::vector<Word>& words) {
  for (unsigned i = 0; i < Words; i++) port.m_storage[i] = i < words.size() ? words[i] : 0;
}
template <class Port>
Word field_of(const Port& port, unsigned number, unsigned bits) {
  const unsigned first = number * bits, shift = first % 32;
  const std::uint64_t two = word_of(port, first / 32) | static_cast<std::uint64_t>(word_of(port, first / 32 + 1)) << 32;
  return static_cast<Word>(two >> shift & ((1ull << bits) - 1));
}
template <class Port, class Use>
void for_each_set_bit(const Port& port, Use use) {
  for (unsigned i = 0; i * 32 < NUM_PES; i++)
    for (Word left = word_of(port, i); left; left &= left - 1) use(i * 32 + static_cast<unsigned>(__builtin_ctz(left)));
}

VerilatedContext context;
Model* array;
#ifdef WAVEFORMS
VerilatedVcdC* waveform;  // values at the end of each cycle of the runs, of the scopes in the arguments
#endif

void tick() {
  array->clock = 1;
  array->eval();
  array->clock = 0;
  array->eval();
}

void load() {
  const Word memory = next(), pe = next(), count = next(), words_each = next();
  std::vector<Word> pes((NUM_PES + 31) / 32, pe == ALL_PES ? ~0u : 0u), words(words_each);
  if (pe != ALL_PES) pes[pe / 32] = 1u << pe % 32;
  if (pe == ALL_PES && NUM_PES % 32) pes.back() = (1u << NUM_PES % 32) - 1;
  set(array->load_pes, pes);
  array->load_memory = static_cast<CData>(1u << memory);
  for (Word address = 0; address < count; address++) {
    for (Word& word : words) word = next();
    array->load_address = address;
    set(array->load_word, words);
    tick();
  }
  array->load_memory = 0;
}

void run() {
  array->columns = next();
  array->input_rows = next();
  array->has_bias = next();
  array->one = next();
  array->limit = next();
  array->shift = next();
  const Word most_edges = next();
  const bool is_traced = next();
  Word broadcasts = 0, bubbles = 0, blocked = 0;
  std::vector<Word> pops(NUM_PES), entries(NUM_PES), padding(NUM_PES), line_reads(NUM_PES), overflows(NUM_PES),
      writes(NUM_PES), finish_edges(NUM_PES), trace;
  const auto count = [](const auto& port, std::vector<Word>& counts) {
    for_each_set_bit(port, [&](unsigned pe) { counts[pe]++; });
  };
  const auto begin = std::chrono::steady_clock::now();
  array->start = 1;
  tick();
  array->start = 0;
  array->eval();
  Word edge = 0;
  while (array->running && edge < most_edges) {
    edge++;  // the one that ends this cycle
#ifdef WAVEFORMS
    waveform->dump(edge);
#endif
    broadcasts += array->broadcast;
    bubbles += array->bubble;
    blocked += array->blocked;
    count(array->pop, pops);
    count(array->entry, entries);
    count(array->padding, padding);
    count(array->line_read, line_reads);
    count(array->overflow, overflows);
    count(array->written, writes);
    for_each_set_bit(array->send, [&](unsigned pe) { finish_edges[pe] = edge; });
    const std::size_t row = trace.size();
    if (is_traced) {
      trace.resize(row + 1 + NUM_PES);
      trace[row] = array->broadcast ? array->broadcast_column : ~0u;
      for (unsigned pe = 0; pe < NUM_PES; pe++)
        trace[row + 1 + pe] = field_of(array->pop, pe, 1) | field_of(array->send, pe, 1) << 1 |
                              field_of(array->line_read, pe, 1) << 2 | field_of(array->entry, pe, 1) << 3 |
                              field_of(array->padding, pe, 1) << 4 | field_of(array->written, pe, 1) << 5 |
                              field_of(array->overflow, pe, 1) << 6;
    }
    tick();
    if (is_traced)
      for (unsigned pe = 0; pe < NUM_PES; pe++)
        trace[row + 1 + pe] |=
            field_of(array->is_busy, pe, 1) << 7 | field_of(array->queue_columns, pe, POSITION_BITS) << 8;
  }
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
  put(!array->running);
  put(array->cycles);
  put(edge);
  put(static_cast<Word>(took.count()));
  put(broadcasts);
  put(bubbles);
  put(blocked);
  for (const auto* counts : {&pops, &entries, &padding, &line_reads, &overflows, &writes, &finish_edges})
    std::fwrite(counts->data(), sizeof(Word), NUM_PES, stdout);
  std::fwrite(trace.data(), sizeof(Word), trace.size(), stdout);
  if (array->running) std::exit(0);  // it would never be free for the next command
}

void read() {
  const Word rows = next();
  array->host_row_read = 1;
  for (Word row = 0; row < rows; row++) {
    array->host_row_number = row;
    tick();
    for (unsigned pe = 0; pe < NUM_PES; pe++) put(field_of(array->row, pe, ACTIVATION_BITS));
  }
  array->host_row_read = 0;
}

void swap() {
  array->swap = 1;
  tick();
  array->swap = 0;
}

}  // namespace

int main([[maybe_unused]] int count, [[maybe_unused]] char** arguments) {
  context.randReset(2);  // registers and memories begin with anything
  context.randSeed(1);
#ifdef WAVEFORMS
  context.traceEverOn(true);
#endif
  array = new Model{&context};
#ifdef WAVEFORMS
  waveform = new VerilatedVcdC;
  array->trace(waveform, 99);
  for (int i = 2; i < count; i++) waveform->dumpvars(99, arguments[i]);
  waveform->open(arguments[1]);
#endif
  array->clock = array->start = array->swap = array->load_memory = array->host_row_read = 0;
  array->reset = 1;
  array->eval();  // an edge needs a level before it
  tick();
  array->reset = 0;
  for (Word command = next(); command != END; command = next()) {
    if (command == LOAD) load();
    if (command == RUN) run();
    if (command == SWAP) swap();
    if (command == READ) read();
  }
#ifdef WAVEFORMS
  waveform->close();
#endif
  return 0;
}
