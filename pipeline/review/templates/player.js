// Two players that show the same moment: the second follows the first through the segments of the pair.

const FAR_S = 0.25; // beyond it the second is set, below it is made a little faster or slower
const CALM_S = 0.008;
const PICTURES_S = 0.12; // of a video that the browser does not play: from picture to picture

/** One video: the browser's own player, or pictures that the server decodes where the browser cannot. */
export class Player {
  constructor(box) {
    this.video = box.querySelector("video");
    this.image = box.querySelector("img");
    this.caption = box.querySelector("figcaption");
    this.box = box;
    this.video.addEventListener("error", () => this.video.src && this.about && this.#usePictures());
    this.image.addEventListener("load", () => {
      this.loading = false;
      this.box.classList.remove("broken");
    });
    this.image.addEventListener("error", () => {
      this.loading = false;
      if (!this.about || !this.image.getAttribute("src")) return;
      this.box.classList.add("broken");
      this.caption.textContent = `${this.about.video_id}: no picture can be shown${this.about.problem ? `; ${this.about.problem}` : ""}`;
    });
  }

  load(about, start_s) {
    this.about = about;
    this.clock = { at: start_s, since: 0, running: false };
    this.wantedRate = 1;
    this.pictures = false;
    this.loading = false;
    this.shown = null;
    this.image.hidden = true;
    this.image.removeAttribute("src");
    this.box.classList.remove("broken");
    delete this.box.dataset.pictures;
    this.video.hidden = false;
    const megabytes = about.bytes ? `, ${(about.bytes / 1e6).toFixed(1)} MB` : "";
    const size = about.width ? `, ${about.width}x${about.height} ${about.codec}` : "";
    this.caption.textContent = `${about.video_id}${size}${megabytes}`;
    if (about.plays) {
      this.video.src = about.media;
      this.video.currentTime = start_s;
    } else {
      this.#usePictures();
    }
  }

  #usePictures() {
    this.pictures = true;
    this.video.removeAttribute("src");
    this.video.load();
    this.video.hidden = true;
    this.image.hidden = false;
    this.box.dataset.pictures = "yes";
    this.caption.textContent += "; single pictures without sound, as browsers do not play it";
    this.draw();
  }

  get duration() {
    const own = this.pictures ? NaN : this.video.duration;
    return Number.isFinite(own) && own > 0 ? own : this.about?.duration_s || 0;
  }

  get time() {
    if (!this.pictures) return this.video.currentTime;
    const { at, since, running } = this.clock;
    return running ? at + ((performance.now() - since) / 1000) * this.wantedRate : at;
  }

  set time(at) {
    const inside = Math.max(0, this.duration ? Math.min(at, this.duration - 0.001) : at);
    if (this.pictures) {
      this.clock.at = inside;
      this.clock.since = performance.now();
      this.draw();
    } else {
      this.video.currentTime = inside;
    }
  }

  get rate() {
    return this.wantedRate;
  }

  set rate(value) {
    const bounded = Math.min(16, Math.max(0.0625, value));
    if (Math.abs(bounded - this.wantedRate) < 0.004) return;
    if (this.pictures) {
      this.clock.at = this.time;
      this.clock.since = performance.now();
    } else {
      this.video.playbackRate = bounded;
    }
    this.wantedRate = bounded;
  }

  get busy() {
    return this.pictures ? this.loading : this.video.seeking || this.video.readyState < 2;
  }

  async play() {
    if (this.pictures) {
      this.clock = { at: this.time, since: performance.now(), running: true };
    } else {
      await this.video.play().catch(() => {});
    }
  }

  pause() {
    if (this.pictures) this.clock = { at: this.time, since: 0, running: false };
    else this.video.pause();
  }

  /** Ask for the picture of this moment, where the last one has come and is another moment's. */
  draw() {
    if (!this.pictures || this.loading) return;
    const at = Math.min(this.time, Math.max(0, this.duration - 0.02) || this.time);
    if (this.shown !== null && Math.abs(at - this.shown) < PICTURES_S && this.clock.running) return;
    if (this.shown !== null && Math.abs(at - this.shown) < 0.001) return;
    this.shown = at;
    this.loading = true;
    this.image.src = `${this.about.picture}?at=${at.toFixed(2)}&height=360`;
  }
}

/** Both together. Times are those of the first video; `onmove` is called with both times at every picture. */
export class Pair {
  constructor(a, b, onmove) {
    Object.assign(this, { a, b, onmove, segments: [], chosen: 0, speed: 1, playing: false });
    requestAnimationFrame(() => this.#tick());
  }

  load(details, segments) {
    this.pause();
    this.segments = [...segments];
    this.chosen = 0;
    const first = segments[0]?.q_start_s ?? 0;
    this.a.load(details.a, first);
    this.b.load(details.b, this.other(first));
  }

  /** Segments that are known only now. The players go to the first of a pair that had none. */
  add(segments) {
    const first = !this.segments.length && segments.length && !this.playing;
    this.segments.push(...segments);
    if (first) this.choose(0);
  }

  /** When the second video shows what the first does at a time. */
  other(at) {
    const part = this.segments[this.chosen];
    if (!part) return at;
    const since = (at - part.q_start_s) * part.speed;
    return Math.max(0, part.reversed ? part.v_end_s - since : part.v_start_s + since);
  }

  choose(number) {
    this.chosen = number;
    this.seek(this.segments[number].q_start_s);
  }

  seek(at) {
    const inside = Math.max(0, this.a.duration ? Math.min(at, this.a.duration) : at);
    const part = this.segments.findIndex((each) => inside >= each.q_start_s && inside < each.q_end_s);
    const now = this.segments[this.chosen];
    if (part >= 0 && !(now && inside >= now.q_start_s && inside < now.q_end_s)) this.chosen = part;
    this.a.time = inside;
    this.b.time = this.other(inside);
  }

  /** The moment at which the second video is at a time. */
  seekOther(at) {
    const part = this.segments[this.chosen];
    if (!part) this.seek(at);
    else this.seek(part.q_start_s + (part.reversed ? part.v_end_s - at : at - part.v_start_s) / (part.speed || 1));
  }

  setSpeed(speed) {
    this.speed = speed;
    this.a.rate = speed;
  }

  async play() {
    this.playing = true;
    this.a.rate = this.speed;
    this.b.time = this.other(this.a.time);
    await Promise.all([this.a.play(), this.#backward ? null : this.b.play()]);
  }

  pause() {
    this.playing = false;
    this.a.pause();
    this.b.pause();
  }

  get #backward() {
    return Boolean(this.segments[this.chosen]?.reversed);
  }

  #tick() {
    requestAnimationFrame(() => this.#tick());
    if (!this.a.about) return;
    if (this.playing) this.#follow();
    this.a.draw();
    this.b.draw();
    this.onmove(this.a.time, this.b.time);
  }

  #follow() {
    const part = this.segments[this.chosen];
    const over = part && this.a.time >= Math.min(part.q_end_s, this.a.duration || Infinity) - 0.02;
    if (over || (this.a.duration && this.a.time >= this.a.duration - 0.02)) {
      this.pause();
      this.ended?.();
      return;
    }
    if (this.a.busy || this.b.busy) return;
    const wanted = this.other(this.a.time);
    const ahead = this.b.time - wanted;
    const pace = this.speed * (part?.speed ?? 1);
    if (this.#backward) {
      if (Math.abs(ahead) > 0.03) this.b.time = wanted;
    } else if (Math.abs(ahead) > FAR_S) {
      this.b.time = wanted;
    } else {
      this.b.rate = pace * (Math.abs(ahead) < CALM_S ? 1 : 1 - Math.max(-0.5, Math.min(0.5, 2 * ahead)));
    }
  }
}
