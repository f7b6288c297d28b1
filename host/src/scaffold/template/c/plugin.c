// Publishes the power of a battery, and the energy that it has discharged since this plugin was installed.

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transformer.h"

// Seconds between two readings. After a longer gap the power in between is unknown, and no energy is counted.
static const double MAX_GAP_S = 60.0;

// The key in the state; the value is `<kWh> <ns since 1970>`.
static char KEY[] = "given";

// What `configure` finds, so that each reading costs little.
static char *topic;
static uint32_t source;
static uint32_t channel;

// Makes a text of its arguments; the host frees it.
__attribute__((format(printf, 2, 3))) static void text(transformer_string_t *to, const char *format, ...) {
  va_list values;
  va_start(values, format);
  char *buffer = NULL;
  int length = vasprintf(&buffer, format, values);
  va_end(values);
  if (length < 0) abort();
  to->ptr = (uint8_t *)buffer;
  to->len = (size_t)length;
}

static bool equals(transformer_string_t one, const char *other) {
  return one.len == strlen(other) && memcmp(one.ptr, other, one.len) == 0;
}

// `[config]` is `{}` or `{"topic":"…"}`. A real plugin would use a JSON library; this one refuses everything else.
static bool read_config(transformer_string_t config, transformer_string_t *error) {
  static const char before[] = "{\"topic\":\"", after[] = "\"}";
  const char *json = (const char *)config.ptr;
  size_t frame = strlen(before) + strlen(after);
  if (equals(config, "{}")) return true;
  if (config.len < frame || memcmp(json, before, strlen(before)) != 0 ||
      memcmp(json + config.len - strlen(after), after, strlen(after)) != 0 ||
      memchr(json, '\\', config.len) != NULL) {
    text(error, "config is %.*s: write topic and nothing else", (int)config.len, json);
    return false;
  }
  size_t length = config.len - frame;
  free(topic);
  topic = strndup(json + strlen(before), length);
  if (strchr(topic, '"') != NULL) {
    text(error, "config is %.*s: write topic and nothing else", (int)config.len, json);
    return false;
  }
  return true;
}

// Finds the channel in a description of the site: a later one has other positions.
static bool find(const bessai_edge_types_site_t *site) {
  for (uint32_t s = 0; s < site->sources.len; s++) {
    const bessai_edge_types_list_channel_t *channels = &site->sources.ptr[s].channels;
    for (uint32_t c = 0; c < channels->len; c++) {
      if (equals(channels->ptr[c].name, "power_kw")) {
        source = s;
        channel = c;
        return true;
      }
    }
  }
  return false;
}

// Adds the energy since the previous reading, and keeps the sum in the state: variables are lost with the instance.
static double counted(uint64_t at, double power_kw) {
  transformer_string_t key = {(uint8_t *)KEY, strlen(KEY)};
  transformer_list_u8_t stored;
  double kwh = 0.0;
  uint64_t then = at;
  if (bessai_edge_state_get(&key, &stored)) {
    char *value = strndup((const char *)stored.ptr, stored.len);
    transformer_list_u8_free(&stored);
    if (sscanf(value, "%lf %" SCNu64, &kwh, &then) != 2) {
      fprintf(stderr, "plugin.c:%d: the state is %s\n", __LINE__, value);
      abort();
    }
    free(value);
  }
  double seconds = ((double)at - (double)then) / 1e9;
  // Positive power is discharge; charging adds nothing.
  if (seconds >= 0.0 && seconds <= MAX_GAP_S && power_kw > 0.0) kwh += power_kw * seconds / 3600.0;
  char value[64];
  transformer_list_u8_t list = {(uint8_t *)value, (size_t)snprintf(value, sizeof value, "%.17g %" PRIu64, kwh, at)};
  bessai_edge_state_state_error_t full;
  if (!bessai_edge_state_set(&key, &list, &full)) abort();
  return kwh;
}

// Makes a message of a reading; false if there is none to make.
static bool energy(uint64_t at, const bessai_edge_types_frame_t *frame, bessai_edge_types_message_t *message) {
  // Positions are per source: in another source, this one is another channel.
  if (frame->source != source) return false;
  // `faults` names the channels without a good value.
  for (size_t i = 0; i < frame->faults.len; i++) {
    if (frame->faults.ptr[i].channel == channel) return false;
  }
  double power_kw = frame->values.ptr[channel];
  double given_kwh = counted(at, power_kw);
  memset(message, 0, sizeof *message);
  transformer_string_dup(&message->topic, topic);
  transformer_string_t payload;
  text(&payload, "{\"ts\":%.9g,\"power_kw\":%.9g,\"given_kwh\":%.9g}", (double)at / 1e9, round(power_kw * 1e3) / 1e3,
       round(given_kwh * 1e3) / 1e3);
  message->payload.ptr = payload.ptr;
  message->payload.len = payload.len;
  message->qos = BESSAI_EDGE_TYPES_QOS_AT_LEAST_ONCE;
  return true;
}

// Called once for each instance. An error is shown to the integrator.
bool exports_bessai_edge_transform_configure(exports_bessai_edge_transform_site_t *site, transformer_string_t *config,
                                             transformer_string_t *error) {
  bool is_valid = read_config(*config, error);
  if (is_valid && topic == NULL) {
    transformer_string_t whole;
    text(&whole, "%.*s/energy", (int)site->id.len, (const char *)site->id.ptr);
    topic = (char *)whole.ptr;
  }
  if (is_valid && !find(site)) {
    text(error, "the site has no channel power_kw");
    is_valid = false;
  }
  exports_bessai_edge_transform_site_free(site);
  transformer_string_free(config);
  return is_valid;
}

// Called with up to 64 events; what it returns is published.
bool exports_bessai_edge_transform_process(exports_bessai_edge_transform_list_event_t *events,
                                           exports_bessai_edge_transform_list_message_t *messages,
                                           exports_bessai_edge_transform_failure_t *failure) {
  (void)failure;
  messages->len = 0;
  messages->ptr = events->len ? calloc(events->len, sizeof *messages->ptr) : NULL;
  for (size_t i = 0; i < events->len; i++) {
    const bessai_edge_types_event_t *event = &events->ptr[i];
    if (event->body.tag == BESSAI_EDGE_TYPES_EVENT_BODY_SITE) {
      find(&event->body.val.site);
    } else if (event->body.tag == BESSAI_EDGE_TYPES_EVENT_BODY_FRAME &&
               energy(event->at, &event->body.val.frame, &messages->ptr[messages->len])) {
      messages->len++;
    }
  }
  exports_bessai_edge_transform_list_event_free(events);
  return true;
}
