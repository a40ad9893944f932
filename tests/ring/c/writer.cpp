// writer.cpp: the same ticks as writer.c, published in batches, as a C++ program would.
//
//     writer PATH COUNT
#include "mdfeedd.h"

#include <algorithm>
#include <array>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr std::uint32_t feed_index = 3;
const std::array<const char *, 2> symbols = {"ESZ5", "NQZ5"};

class Writer {
public:
    explicit Writer(const std::string &path) {
        const mdf_ring_options options = {
            "c-feed", MDF_TICK_LAYOUT, sizeof(mdf_tick), feed_index, 1000, 1024};
        check(mdf_writer_open(&writer_, path.c_str(), &options, err_.data()));
    }
    ~Writer() { mdf_writer_close(&writer_, 1); }
    Writer(const Writer &) = delete;
    Writer &operator=(const Writer &) = delete;

    void put(std::uint32_t index, const mdf_instrument &entry) {
        check(mdf_instrument_put(&writer_, index, &entry, err_.data()));
    }
    void publish(const std::vector<mdf_tick> &ticks) {
        mdf_publish_batch(&writer_, ticks.data(), ticks.size());
        mdf_flush(&writer_);
    }

private:
    void check(int code) {
        if (code) throw std::runtime_error(err_.data());
    }
    mdf_writer writer_{};
    std::array<char, MDF_ERR> err_{};
};

mdf_tick make_tick(std::uint64_t i) {
    mdf_tick t{};
    t.ts_event = 1000 + static_cast<std::int64_t>(i);
    t.ts_recv = 2000 + static_cast<std::int64_t>(i);
    t.instrument_id = feed_index << 24 | static_cast<std::uint32_t>(1 + i % symbols.size());
    t.flags = MDF_EVENT_END | MDF_REPLAYED;
    t.venue_seq = static_cast<std::uint32_t>(i);
    t.count = static_cast<std::uint32_t>(i % 7);
    const auto price = static_cast<std::int64_t>(i) * MDF_PRICE_SCALE;
    if (i % 3) {
        t.kind = MDF_QUOTE;
        t.payload.quote.bid_price = price;
        t.payload.quote.ask_price = price + 250000000;
        t.payload.quote.bid_size = static_cast<std::uint32_t>(10 + i);
        t.payload.quote.ask_size = static_cast<std::uint32_t>(20 + i);
    } else {
        t.kind = MDF_TRADE;
        t.side = i % 2 ? MDF_SIDE_BID : MDF_SIDE_ASK;
        t.payload.trade.price = -price;
        t.payload.trade.trade_id = UINT64_C(1) << 63 | i;
        t.payload.trade.size = static_cast<std::uint32_t>(i + 1);
    }
    return t;
}

} // namespace

int main(int argc, char **argv) try {
    if (argc != 3) return 2;
    Writer writer(argv[1]);
    for (std::uint32_t i = 0; i < symbols.size(); i++) {
        mdf_instrument entry{};
        entry.instrument_id = feed_index << 24 | (i + 1);
        entry.tick_size = 250000000;
        mdf_text(entry.symbol, sizeof entry.symbol, symbols[i]);
        writer.put(i, entry);
    }
    const std::uint64_t count = std::stoull(argv[2]);
    for (std::uint64_t i = 0; i < count;) {
        std::vector<mdf_tick> batch;
        for (const std::uint64_t end = std::min<std::uint64_t>(count, i + 1 + i % 83); i < end; i++)
            batch.push_back(make_tick(i));
        writer.publish(batch);
    }
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
