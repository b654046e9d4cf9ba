// A new group: its name and who is in it.

import { avatar, byId, el, icon } from '../dom.js';
import { t } from '../text.js';

export class Groups {
  #app;

  constructor(app) {
    this.#app = app;
    const button = byId('new-group');
    button.append(icon('plus'));
    button.addEventListener('click', () => this.#open());
    byId('group-cancel').addEventListener('click', () => byId('group-dialog').close());
    byId('group-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#make();
    });
  }

  #open() {
    byId('group-problem').textContent = '';
    byId('group-name').value = '';
    const choices = this.#app.people.others().slice(0, 100).map((mid) => {
      const name = this.#app.name(mid);
      const box = el('input', { type: 'checkbox', name: 'member', value: String(mid) });
      return el('label', { className: 'choice', translate: false }, box, avatar(mid, name, { small: true, online: this.#app.people.online.has(mid) }), name);
    });
    byId('group-people').replaceChildren(...(choices.length > 0 ? choices : [el('p', { className: 'quiet' }, t('group.nobody'))]));
    byId('group-dialog').showModal();
  }

  async #make() {
    const chosen = [...byId('group-people').querySelectorAll('input:checked')].map(({ value }) => BigInt(value));
    const name = byId('group-name').value.trim();
    if (chosen.length === 0) return void (byId('group-problem').textContent = t('group.choose'));
    try {
      await this.#app.makeGroup(name, chosen);
      byId('group-dialog').close();
    } catch (error) {
      byId('group-problem').textContent = t('problem.call', { message: error.message });
    }
  }
}
