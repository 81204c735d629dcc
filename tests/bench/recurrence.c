/* The recurrence of sim/engine.py in plain C: what the engine's timing is measured beside. Lags are bytes.
   Returns the last active edge; adds the cycles in which a full queue blocked the broadcast to *blocked. */
#include <stdint.h>
#include <string.h>

long last_active_edge(const uint8_t *counts, const int32_t *columns, const int32_t *bubbles, long trailing_bubbles,
                      long broadcasts, long pes, long depth, const int64_t *stored, int64_t *finish_edges,
                      int32_t *latest_pops, long *blocked) {
    uint8_t lags[pes], seen[pes];
    long unseen = 0, may_finish = broadcasts, broadcast = 0;
    memset(lags, 0, pes);
    memset(finish_edges, 0, pes * sizeof *finish_edges);
    memset(latest_pops, 0, depth * sizeof *latest_pops);
    for (long k = 0; k < pes; k++) {
        seen[k] = stored[k] == 0;
        unseen += !seen[k];
    }
    while (unseen > 0 && may_finish > 0) {
        const uint8_t *entries = counts + (long)columns[--may_finish] * pes;
        for (long k = 0; k < pes; k++)
            if (!seen[k] && entries[k] > 0) {
                seen[k] = 1;
                unseen--;
            }
    }
    for (long j = 0; j < broadcasts; j++) {
        const uint8_t *entries = counts + (long)columns[j] * pes;
        long ready = broadcast + 1 + bubbles[j];
        long edge = ready > latest_pops[j] + 1 ? ready : latest_pops[j] + 1;
        uint8_t step = edge - broadcast > 255 ? 255 : edge - broadcast, longest_wait = 0;
        *blocked += edge - ready;
        broadcast = edge;
        for (long k = 0; k < pes; k++) {
            uint8_t wait = (lags[k] > step ? lags[k] : step) - step;
            longest_wait = longest_wait > wait ? longest_wait : wait;
            lags[k] = wait + (entries[k] > 1 ? entries[k] : 1);
        }
        latest_pops[j + depth] = broadcast + 1 + longest_wait;
        if (j >= may_finish)
            for (long k = 0; k < pes; k++)
                if (entries[k] > 0)
                    finish_edges[k] = broadcast + 1 + lags[k];
    }
    long last = broadcast + trailing_bubbles;
    for (long k = 0; k < pes; k++)
        last = finish_edges[k] > last ? finish_edges[k] : last;
    return last;
}
