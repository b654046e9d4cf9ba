// Who else is here: members of the group of everyone, their names, who is online.

import * as api from './api.js';
import { EVERYONE, isGroup } from './model.js';

const ASK_MS = 4_000;
const MIDS_MAX = 500;

export class People {
  #model;
  #changed;
  online = new Set();
  members = new Set();
  #groups = new Map();

  /** `changed()` after each change. */
  constructor(model, changed) {
    this.#model = model;
    this.#changed = changed;
  }

  name(mid) {
    return this.#model.names.get(mid) ?? null;
  }

  /** Others, online first, then by name. */
  others() {
    const mids = [...this.members].filter((mid) => mid !== this.#model.me);
    const rank = (mid) => (this.online.has(mid) ? 0 : 1);
    return mids.sort((one, other) => rank(one) - rank(other) || (this.name(one) ?? '~').localeCompare(this.name(other) ?? '~'));
  }

  /** Asks now and then, while somebody looks. */
  start() {
    const turn = async () => {
      // Nobody is known to be online while nobody answers.
      if (!document.hidden) await this.ask().catch(() => this.#nobody());
      setTimeout(turn, ASK_MS);
    };
    turn();
  }

  #nobody() {
    this.online = new Set();
    this.#changed();
  }

  async ask() {
    const { me } = this.#model;
    const everyone = await api.group(EVERYONE);
    if (everyone === null) await api.makeGroup(EVERYONE, { name: 'Everyone', members: [me] });
    // Not only once: two windows may have made the group at the same time.
    else if (!everyone.members.map(BigInt).includes(me)) await api.addMembers(EVERYONE, [me]);
    this.members = new Set([...(everyone?.members ?? []).map(BigInt), me]);
    const peers = this.#model.list().filter(({ conv }) => !isGroup(conv)).map(({ conv }) => conv);
    this.online = await api.online([...new Set([...this.members, ...peers])].slice(0, MIDS_MAX));
    this.#changed();
  }

  /** What is known of a group now. */
  known(id) {
    return this.#groups.get(id) ?? { name: '', members: [] };
  }

  /** A group's name and members; asked for once, and again with `anew`. */
  async group(id, anew = false) {
    if (!anew && this.#groups.has(id)) return this.#groups.get(id);
    const found = await api.group(id);
    const group = { name: found?.name ?? '', members: (found?.members ?? []).map(BigInt) };
    this.#groups.set(id, group);
    return group;
  }
}
