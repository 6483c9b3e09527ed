// Loops over configurations. Included inside the namespace of each variant.

void evaluate(const Tables &t, const Pairs &pairs, int64_t begin, int64_t end, const Outputs &out) {
    Worker worker(t, pairs);
    for (int64_t c = begin; c < end; ++c)
        for (int64_t i = pairs.atom_begin[c]; i < pairs.atom_begin[c + 1]; i += W) {
            const int64_t left = pairs.atom_begin[c + 1] - i;
            worker.group(c, i, left < W ? int(left) : W, out, false);
        }
}

// Loss of one configuration; leaves twice weight times residual in v (atoms, 3) and lambda (6).
static double residuals(const Pairs &pairs, int64_t c, const Targets &target, const Outputs &out,
                        double *energy, double *v, double *lambda) {
    double loss = 0;
    *energy = 0;
    if (const double w = target.energy_weight[c]; w != 0) {
        const double difference = out.energy[c] - target.energy[c];
        loss += w * difference * difference;
        *energy = 2 * w * difference;
    }
    for (int64_t i = pairs.atom_begin[c]; i < pairs.atom_begin[c + 1]; ++i, v += 3)
        for (int k = 0; k < 3; ++k) {
            v[k] = 0;
            if (const double w = target.force_weight[i]; w != 0) {
                const double difference = out.forces[3 * i + k] - target.forces[3 * i + k];
                loss += w * difference * difference;
                v[k] = 2 * w * difference;
            }
        }
    for (int k = 0; k < 6; ++k) {
        lambda[k] = 0;
        if (const double w = target.stress_weight[c]; w != 0) {
            const double difference = out.stress[6 * c + k] - target.stress[6 * c + k];
            loss += (k < 3 ? 1 : 2) * w * difference * difference;  // both xy and yx
            lambda[k] = 2 * w * difference;
        }
    }
    return loss;
}

double loss_gradient(const Tables &t, const Pairs &pairs, int64_t begin, int64_t end,
                     const Targets &target, const Outputs &out, double *gradient) {
    Worker worker(t, pairs);
    Buffer direction;
    const int64_t radial = int64_t(t.species) * t.species * t.radial_count * t.radial_size;
    vec *sums = (vec *)worker.radial_sums.need(W * radial);
    for (int64_t k = 0; k < radial; ++k) sums[k] = splat(0);
    double loss = 0;
    for (int64_t c = begin; c < end; ++c) {
        const int64_t first = pairs.atom_begin[c], last = pairs.atom_begin[c + 1];
        if (gradient) worker.prepare(c);
        for (int64_t i = first; i < last; i += W)
            worker.group(c, i, last - i < W ? int(last - i) : W, out, gradient != nullptr);
        double *v = direction.need(3 * (last - first) + 1), energy, lambda[6];
        loss += residuals(pairs, c, target, out, &energy, v, lambda);
        for (int64_t i = first; gradient && i < last; i += W)
            worker.gradient(c, i, last - i < W ? int(last - i) : W, energy, v, lambda,
                            gradient + radial, gradient + radial + t.species);
    }
    for (int64_t k = 0; gradient && k < radial; ++k) gradient[k] += t.scaling * sum(sums[k]);
    return loss;
}
