// Tables of numbers in text, as most bytes of a .cfg file are: read and written without a locale, every
// double exactly. What is irregular here is left to the caller, who can say what is wrong.
#pragma once
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

namespace mtp {

#if defined(__cpp_lib_to_chars)
constexpr bool fast_text = true;

inline bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// The end of `rows` lines of exactly `columns` finite numbers each; null where a line is anything else.
// In column `flag` (-1: none) stand true and false.
inline const char *parse_table(const char *at, const char *end, int64_t rows, int columns, int flag,
                               double *values) {
    for (int64_t row = 0; row < rows; ++row) {
        for (int column = 0; column < columns; ++column, ++values) {
            while (at < end && blank(*at)) ++at;
            if (column == flag) {
                const bool yes = end - at > 4 && !std::memcmp(at, "true", 4);
                if (!yes && !(end - at > 5 && !std::memcmp(at, "false", 5))) return nullptr;
                *values = yes;
                at += yes ? 4 : 5;
            } else {
                const auto parsed = std::from_chars(at, end, *values);
                if (parsed.ec != std::errc() || !std::isfinite(*values)) return nullptr;
                at = parsed.ptr;
            }
            if (at < end && !blank(*at) && *at != '\n') return nullptr;
        }
        while (at < end && blank(*at)) ++at;
        if (at < end && *at++ != '\n') return nullptr;
    }
    return at;
}

inline void append_padded(std::string &text, const char *word, size_t length, size_t width) {
    text.append(length < width ? width - length : 0, ' ');
    text.append(word, length);
}

// One line per row: its number from 1, its type, its values, each with the fewest digits that read
// back as the same double.
inline std::string format_table(const int *types, const double *values, int64_t rows, int columns, int flag) {
    std::string text;
    text.reserve(size_t(rows) * (20 + 21 * size_t(columns)));
    char word[32];
    const auto put = [&](auto number, size_t width) {
        const auto end = std::to_chars(word, word + sizeof word, number).ptr;
        append_padded(text, word, size_t(end - word), width);
    };
    for (int64_t row = 0; row < rows; ++row) {
        put(row + 1, 14);
        text += ' ';
        put(types[row], 4);
        for (int column = 0; column < columns; ++column, ++values) {
            text += ' ';
            if (column == flag)
                append_padded(text, *values != 0 ? "true" : "false", *values != 0 ? 4 : 5, 20);
            else
                put(*values, 20);
        }
        text += '\n';
    }
    return text;
}
#else
constexpr bool fast_text = false;
inline const char *parse_table(const char *, const char *, int64_t, int, int, double *) { return nullptr; }
inline std::string format_table(const int *, const double *, int64_t, int, int) { return {}; }
#endif

}  // namespace mtp
