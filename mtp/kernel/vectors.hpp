// Four doubles as one value, and memory that grows. Included inside the namespace of each variant.

typedef double v4 __attribute__((vector_size(32), may_alias));
typedef double v4u __attribute__((vector_size(32), aligned(8), may_alias));

#define MTP_INLINE static inline __attribute__((always_inline))

MTP_INLINE v4 load(const double *p) { return *(const v4u *)p; }
MTP_INLINE void store(double *p, v4 a) { *(v4u *)p = a; }
MTP_INLINE void add(double *p, v4 a) { store(p, load(p) + a); }
MTP_INLINE v4 splat(double a) { return v4{a, a, a, a}; }
MTP_INLINE double sum(v4 a) { return (a[0] + a[2]) + (a[1] + a[3]); }

class Buffer {
    double *data = nullptr;
    int64_t capacity = 0;

public:
    double *need(int64_t count) {
        if (count > capacity) {
            free(data);
            capacity = count + count / 4 + 64;
            data = (double *)aligned_alloc(64, (capacity * 8 + 63) / 64 * 64);
            if (!data) out_of_memory();
        }
        return data;
    }
    Buffer() = default;
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    ~Buffer() { free(data); }
};
