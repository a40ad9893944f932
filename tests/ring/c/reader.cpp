// reader.cpp: the same as reader.c, in batches, as a C++ program would.
//
//     reader PATH
#include "mdfeedd.h"

#include <array>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>

namespace {

class Reader {
public:
    explicit Reader(const std::string &path) {
        std::array<char, MDF_ERR> err{};
        if (mdf_reader_open(&reader_, path.c_str(), MDF_TICK_LAYOUT, sizeof(mdf_tick),
                            MDF_START_OLDEST, "cpp-reader", err.data()))
            throw std::runtime_error(err.data());
    }
    ~Reader() { mdf_reader_close(&reader_); }
    Reader(const Reader &) = delete;
    Reader &operator=(const Reader &) = delete;

    template <typename Use> void each(Use use) {
        for (;;) {
            const bool closed = mdf_load32_acquire(&reader_.h->state) == MDF_CLOSED;
            std::uint64_t skip = 0;
            const std::uint64_t lost = reader_.lost;
            const std::uint64_t n = mdf_read_batch(&reader_, batch_.data(), batch_.size(), &skip);
            for (std::uint64_t i = 0; i < n; i++) use(batch_[skip + i]);
            if (n || reader_.lost != lost) continue;
            if (closed) return;
            if (mdf_wait(&reader_, 20000, 1000000000) == MDF_READY) mdf_acknowledge_state(&reader_);
        }
    }

    std::string symbol(std::uint32_t id) {
        mdf_instrument e;
        for (; mdf_read_instrument(&reader_, known_, &e) == 0; known_++)
            symbols_[e.instrument_id] = e.symbol;
        const auto found = symbols_.find(id);
        return found == symbols_.end() ? "?" : found->second;
    }

    std::uint64_t lost() const { return reader_.lost; }

private:
    mdf_reader reader_{};
    std::array<mdf_tick, 97> batch_{};
    std::map<std::uint32_t, std::string> symbols_;
    std::uint64_t known_ = 0;
};

} // namespace

int main(int argc, char **argv) try {
    if (argc != 2) return 2;
    Reader reader(argv[1]);
    reader.each([&](const mdf_tick &t) {
        std::cout << t.seq << ' ' << t.ts_event << ' ' << t.ts_recv << ' ' << t.instrument_id << ' '
                  << reader.symbol(t.instrument_id) << ' ' << unsigned{t.kind} << ' '
                  << unsigned{t.side} << ' ' << t.flags << ' ' << t.venue_seq << ' ' << t.count
                  << ' ';
        if (t.kind == MDF_QUOTE) {
            const auto &q = t.payload.quote;
            std::cout << q.bid_price << ' ' << q.ask_price << ' ' << q.bid_size << ' ' << q.ask_size
                      << '\n';
        } else {
            const auto &trade = t.payload.trade;
            std::cout << trade.price << ' ' << trade.trade_id << ' ' << trade.size << ' '
                      << trade.reserved << '\n';
        }
    });
    std::cerr << "lost " << reader.lost() << '\n';
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
