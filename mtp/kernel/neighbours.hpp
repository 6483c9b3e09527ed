// Neighbour lists by linked cells for any cell: triclinic, smaller than the cutoff, any mixture of
// periodic and open directions. All configurations of a data set in one list, 28 bytes per pair.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "tables.hpp"

namespace mtp {

using Vector = std::array<double, 3>;

inline double dot(const Vector &a, const Vector &b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
inline Vector cross(const Vector &a, const Vector &b) {
    return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}
inline Vector scaled(const Vector &a, double s) { return {a[0] * s, a[1] * s, a[2] * s}; }

// Cell vectors with the open directions replaced by unit vectors across the periodic ones.
struct Frame {
    Vector row[3], inverse[3];  // inverse[d] . r is the fractional coordinate along d
    double height[3];

    Frame(const double *cell, const bool *periodic) {
        int open = 0;
        for (int d = 0; d < 3; ++d) {
            open += !periodic[d];
            if (periodic[d]) row[d] = {cell[3 * d], cell[3 * d + 1], cell[3 * d + 2]};
        }
        if (open == 3)
            for (int d = 0; d < 3; ++d) row[d] = {double(d == 0), double(d == 1), double(d == 2)};
        else if (open == 2)
            span_from_one(periodic[0] ? 0 : periodic[1] ? 1 : 2);
        else if (open == 1) {
            const int d = !periodic[0] ? 0 : !periodic[1] ? 1 : 2;
            row[d] = unit(cross(row[(d + 1) % 3], row[(d + 2) % 3]));
        }
        const double volume = dot(row[0], cross(row[1], row[2]));
        for (int d = 0; d < 3; ++d) {
            inverse[d] = scaled(cross(row[(d + 1) % 3], row[(d + 2) % 3]), 1 / volume);
            height[d] = 1 / std::sqrt(dot(inverse[d], inverse[d]));
            if (!std::isfinite(height[d]) || !(height[d] > 1e-3))
                throw std::invalid_argument("the cell is flat: periodic vectors must be independent");
        }
    }

private:
    static Vector unit(const Vector &a) { return scaled(a, 1 / std::sqrt(dot(a, a))); }
    void span_from_one(int d) {
        const Vector a = row[d];
        int small = 0;
        for (int k = 1; k < 3; ++k)
            if (std::abs(a[k]) < std::abs(a[small])) small = k;
        Vector axis{};
        axis[small] = 1;
        row[(d + 1) % 3] = unit(cross(a, axis));
        row[(d + 2) % 3] = unit(cross(a, row[(d + 1) % 3]));
    }
};

class Neighbours {
public:
    std::vector<double> x, y, z;
    std::vector<int> index, types;
    std::vector<int64_t> first{0}, atom_begin{0};

    Pairs pairs() const {
        return {x.data(), y.data(), z.data(), index.data(), first.data(), types.data(), atom_begin.data()};
    }

    // Throws std::invalid_argument on a configuration that has no meaning, as atoms nearer than `closest`.
    void add(const double *cell, const bool *periodic, const double *positions, const int *type, int atoms,
             double cutoff, double closest) {
        for (int i = 0; i < 3 * atoms; ++i)
            if (!std::isfinite(positions[i]))
                throw std::invalid_argument("position of atom " + std::to_string(i / 3 + 1) +
                                            " is not finite");
        Bins bins(cell, periodic, positions, atoms, cutoff, closest);
        unpad();
        count_.resize(atoms ? *std::max_element(type, type + atoms) + 2 : 1);
        for (int i = 0; i < atoms; ++i) {
            append_sorted(type, bins.around(i, found_));
        }
        types.insert(types.end(), type, type + atoms);
        atom_begin.push_back(int64_t(types.size()));
        pad();
    }

    // Take away the pairs of these atoms of the last configuration as centres; as neighbours they stay.
    void drop_centres(const bool *dropped) {
        unpad();
        const int64_t begin = *(atom_begin.end() - 2), end = atom_begin.back();
        int64_t read = first[begin], kept = read;
        for (int64_t i = begin; i < end; ++i) {
            const int64_t next = first[i + 1];
            for (; read < next; ++read) {
                if (dropped[i - begin]) continue;
                x[kept] = x[read];
                y[kept] = y[read];
                z[kept] = z[read];
                index[kept++] = index[read];
            }
            first[i + 1] = kept;
        }
        index.resize(kept);
        pad();
    }

private:
    struct Pair {
        double x, y, z;
        int index;
    };

    class Bins {
    public:
        Bins(const double *cell, const bool *periodic, const double *positions, int atoms, double cutoff,
             double closest)
            : frame_(cell, periodic), cutoff_(cutoff), allowed_(closest * closest) {
            wrap(periodic, positions, atoms);
            for (int d = 0; d < 3; ++d) {
                const double length = frame_.height[d] * extent_[d];
                const double most = 2 * std::cbrt(double(atoms)) + 1;
                number_[d] = int(std::max(1.0, std::min(std::floor(2 * length / cutoff), most)));
                width_[d] = extent_[d] / number_[d];
                reach_[d] = int(std::ceil(cutoff / (frame_.height[d] * width_[d])));
                periodic_[d] = periodic[d];
                if (!periodic[d]) reach_[d] = std::min(reach_[d], number_[d] - 1);
            }
            if ((2.0 * reach_[0] + 1) * (2.0 * reach_[1] + 1) * (2.0 * reach_[2] + 1) > 1e6)
                throw std::invalid_argument("the cell is too small or too flat for the cutoff");
            sort(atoms);
        }

        size_t around(int i, std::vector<Pair> &found) {
            count_ = 0;
            for (int d = 0; d < 3; ++d) reachable(i, d);
            for (const Slice &a : slices_[0])
                for (const Slice &b : slices_[1]) {
                    const int row = (a.bin * number_[1] + b.bin) * number_[2];
                    double shift[3];
                    for (int k = 0; k < 3; ++k) shift[k] = a.shift[k] + b.shift[k] - wrapped_[i][k];
                    for (const Slice &c : slices_[2]) {
                        const double at[3] = {shift[0] + c.shift[0], shift[1] + c.shift[1],
                                              shift[2] + c.shift[2]};
                        scan(row + c.bin, i, a.home && b.home && c.home, at, found);
                    }
                }
            if (closest_ < allowed_)
                throw std::invalid_argument("atom " + std::to_string(i + 1) + " coincides with another");
            return count_;
        }

    private:
        void wrap(const bool *periodic, const double *positions, int atoms) {
            fraction_.resize(atoms);
            wrapped_.resize(atoms);
            for (int d = 0; d < 3; ++d) {
                double low = 0, high = 1;
                for (int i = 0; i < atoms; ++i) {
                    const double *r = positions + 3 * i;
                    const double s = dot(frame_.inverse[d], {r[0], r[1], r[2]});
                    if (!(std::abs(s) < 1e9))
                        throw std::invalid_argument("atom " + std::to_string(i + 1) + " is too far away");
                    fraction_[i][d] = s;
                    low = i ? std::min(low, s) : s;
                    high = i ? std::max(high, s) : s;
                }
                origin_[d] = periodic[d] ? 0 : low;
                extent_[d] = periodic[d] ? 1 : std::max(high - low, 1e-3);
            }
            for (int i = 0; i < atoms; ++i) {
                const double *r = positions + 3 * i;
                wrapped_[i] = {r[0], r[1], r[2]};
                for (int d = 0; d < 3; ++d) {
                    if (!periodic[d]) continue;
                    const double cells = std::floor(fraction_[i][d]);
                    fraction_[i][d] -= cells;
                    for (int k = 0; k < 3; ++k) wrapped_[i][k] -= cells * frame_.row[d][k];
                }
            }
        }

        int bin_of(int i, int d) const {
            const int bin = int((fraction_[i][d] - origin_[d]) / width_[d]);
            return std::max(0, std::min(bin, number_[d] - 1));
        }

        void sort(int atoms) {
            std::vector<int> bin(atoms);
            start_.assign(size_t(number_[0]) * number_[1] * number_[2] + 1, 0);
            for (int i = 0; i < atoms; ++i) {
                bin[i] = (bin_of(i, 0) * number_[1] + bin_of(i, 1)) * number_[2] + bin_of(i, 2);
                ++start_[bin[i] + 1];
            }
            std::partial_sum(start_.begin(), start_.end(), start_.begin());
            std::vector<int> next(start_.begin(), start_.end() - 1);
            members_.resize(atoms);
            for (int i = 0; i < atoms; ++i)
                members_[next[bin[i]]++] = {wrapped_[i][0], wrapped_[i][1], wrapped_[i][2], i};
        }

        // Bins within reach along one direction, with the shift of the image they are in.
        void reachable(int i, int d) {
            slices_[d].clear();
            const int own = bin_of(i, d);
            for (int at = own - reach_[d]; at <= own + reach_[d]; ++at) {
                const int image = at >= 0 ? at / number_[d] : -((number_[d] - 1 - at) / number_[d]);
                if (image != 0 && !periodic_[d]) continue;
                slices_[d].push_back({at - image * number_[d], image == 0, scaled(frame_.row[d], image)});
            }
        }

        // Every candidate is written, and kept by moving the end: nothing to predict.
        void scan(int bin, int i, bool home, const double *shift, std::vector<Pair> &found) {
            const int begin = start_[bin], end = start_[bin + 1];
            if (found.size() < count_ + size_t(end - begin)) found.resize(2 * count_ + size_t(end - begin) + 64);
            for (int m = begin; m < end; ++m) {
                const Pair &member = members_[m];
                const double x = member.x + shift[0], y = member.y + shift[1], z = member.z + shift[2];
                const double square = x * x + y * y + z * z;
                found[count_] = {x, y, z, member.index};
                const bool other = !home || member.index != i;
                closest_ = other && square < closest_ ? square : closest_;
                count_ += square < cutoff_ * cutoff_ && other;
            }
        }

        struct Slice {
            int bin;
            bool home;
            Vector shift;
        };

        Frame frame_;
        double cutoff_, extent_[3], origin_[3], width_[3];
        int number_[3], reach_[3];
        bool periodic_[3];
        std::vector<Vector> fraction_, wrapped_;
        std::vector<int> start_;
        std::vector<Pair> members_;
        std::vector<Slice> slices_[3];
        size_t count_ = 0;
        double allowed_, closest_ = 1;
    };

    void append_sorted(const int *type, size_t found) {
        std::fill(count_.begin(), count_.end(), 0);
        for (size_t n = 0; n < found; ++n) ++count_[type[found_[n].index] + 1];
        std::partial_sum(count_.begin(), count_.end(), count_.begin());
        const size_t base = index.size(), size = base + found;
        for (auto *v : {&x, &y, &z}) v->resize(size);
        index.resize(size);
        for (size_t n = 0; n < found; ++n) {
            const Pair &pair = found_[n];
            const size_t at = base + count_[type[pair.index]]++;
            x[at] = pair.x;
            y[at] = pair.y;
            z[at] = pair.z;
            index[at] = pair.index;
        }
        first.push_back(int64_t(size));
    }

    // The kernel reads whole vectors: harmless values behind the last pair.
    void pad() {
        for (auto *v : {&x, &y, &z}) v->resize(index.size() + 8, 1.0);
    }
    void unpad() {
        for (auto *v : {&x, &y, &z}) v->resize(index.size());
    }

    std::vector<Pair> found_;
    std::vector<int> count_;
};

}  // namespace mtp
