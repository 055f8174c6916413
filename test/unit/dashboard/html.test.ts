import { expect, it } from 'vitest';
import { html } from '../../../dashboard/html.ts';

it('what is put into a page is text, in an element and in an attribute', () => {
  const evil = `"><script>alert('1')</script>&\``;
  expect(html`<p title="${evil}">${evil}</p>`.text).toBe(
    '<p title="&#34;&#62;&#60;script&#62;alert(&#39;1&#39;)&#60;/script&#62;&#38;&#96;">' +
      '&#34;&#62;&#60;script&#62;alert(&#39;1&#39;)&#60;/script&#62;&#38;&#96;</p>',
  );
});

it('pieces and lists of pieces are taken as they are, and their text is still escaped', () => {
  const items = ['<a>', 'b'].map((text) => html`<li>${text}</li>`);
  expect(html`<b>${items}</b>`.text).toBe('<b><li>&#60;a&#62;</li><li>b</li></b>');
  expect(html`${['<i>', 'x']}`.text).toBe('&#60;i&#62;x');
});

it('nothing is shown for null, undefined and false, and 0 is shown', () => {
  expect(html`[${null}${undefined}${false}${0}]`.text).toBe('[0]');
});
