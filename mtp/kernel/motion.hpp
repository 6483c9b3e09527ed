// A neighbour list that follows its atoms: the pairs stay, their vectors move.
#pragma once
#include "neighbours.hpp"

namespace mtp {

// Pair vector v of atoms i and j becomes v G + w_j - w_i: G (3, 3) carries the old cell into the new
// one, w = r_new - r_old G is what an atom moves beside that. One configuration, no rounding of images.
inline void move(Neighbours &n, const double *g, const double *w) {
    const int64_t atoms = int64_t(n.types.size());
    for (int64_t i = 0; i < atoms; ++i) {
        const double *wi = w + 3 * i;
        for (int64_t p = n.first[i]; p < n.first[i + 1]; ++p) {
            const double *wj = w + 3 * n.index[p];
            const double x = n.x[p], y = n.y[p], z = n.z[p];
            n.x[p] = x * g[0] + y * g[3] + z * g[6] + (wj[0] - wi[0]);
            n.y[p] = x * g[1] + y * g[4] + z * g[7] + (wj[1] - wi[1]);
            n.z[p] = x * g[2] + y * g[5] + z * g[8] + (wj[2] - wi[2]);
        }
    }
}

// The farthest that an atom is from where it was, Å^2; NaN where a number is none.
inline double farthest(const double *now, const double *was, int64_t atoms) {
    double most = 0;
    for (int64_t i = 0; i < 3 * atoms; i += 3) {
        const double x = now[i] - was[i], y = now[i + 1] - was[i + 1], z = now[i + 2] - was[i + 2];
        const double square = x * x + y * y + z * z;
        if (!(square <= most)) most = square;
        if (most != most) break;
    }
    return most;
}

}  // namespace mtp
