"use strict";
// A reader's correction of a scan's labels, saved as a JSON file for `vertseg apply`.
(() => {
  const scheme = JSON.parse(document.getElementById("scheme").textContent);
  const T13 = Number(Object.keys(scheme.names).find((label) => scheme.names[label] === "T13"));
  const unsaved = new Set();

  function createEditor(holder) {
    const start = JSON.parse(holder.dataset.correctable);
    const form = document.getElementById("editor").content.firstElementChild.cloneNode(true);
    const find = (selector) => form.querySelector(selector);
    const rows = start.labels.map((label) => ({ label, becomes: label, centre: null }));

    function element(kind, text, attributes = {}) {
      const made = document.createElement(kind);
      made.textContent = text;
      for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
      return made;
    }

    function addRow(row) {
      const name = scheme.names[row.label];
      const line = document.createElement("tr");
      const head = element("th", "", { scope: "row" });
      const chip = element("span", "", { class: "chip", style: `background: ${scheme.colours[row.label]}` });
      head.append(chip, name);
      row.select = element("select", "", { "aria-label": `Right name of ${name}` });
      for (const label of scheme.order) row.select.append(element("option", scheme.names[label], { value: label }));
      row.select.append(element("option", "no vertebra: delete", { value: "" }));
      row.select.addEventListener("change", () => {
        row.becomes = row.select.value === "" ? null : Number(row.select.value);
        refresh();
      });
      const up = element("button", "▲ one up", { type: "button", "aria-label": `From ${name} down one level up` });
      const down = element("button", "▼ one down", { type: "button", "aria-label": `From ${name} down one level down` });
      up.addEventListener("click", () => shift(row, -1));
      down.addEventListener("click", () => shift(row, 1));
      row.move = element("button", "to the crosshair", { type: "button", "aria-label": `Centre of ${name} to the crosshair` });
      row.move.addEventListener("click", () => {
        row.centre = window.vertsegViewer.crosshairMm().map((value) => Math.round(value * 100) / 100);
        refresh();
      });
      row.moved = element("span", "");
      const cells = [[row.select], [up, " ", down], [row.move, " ", row.moved]].map((content) => {
        const cell = document.createElement("td");
        cell.append(...content);
        return cell;
      });
      line.append(head, ...cells);
      row.line = line;
      find("tbody").append(line);
    }

    // Move the names of a vertebra and all below it by one level. T13, which few people have, counts
    // as a level where it is among them.
    function shift(first, step) {
      const kept = rows.slice(rows.indexOf(first)).filter((row) => row.becomes !== null);
      const order = scheme.order.filter((label) => label !== T13 || kept.some((row) => row.becomes === T13));
      const moved = kept.map((row) => order[order.indexOf(row.becomes) + step]);
      if (moved.includes(undefined)) {
        const end = step < 0 ? "above C1" : "below L6";
        find(".state").textContent = `There is no level ${end}: rename or delete that vertebra first.`;
        return;
      }
      kept.forEach((row, index) => { row.becomes = moved[index]; });
      refresh();
    }

    function changes() {
      return rows
        .filter((row) => row.becomes !== row.label || row.centre)
        .map(({ label, becomes, centre }) => ({ label, becomes, ...(centre && becomes !== null ? { centre_mm: centre } : {}) }));
    }

    function refresh() {
      const taken = rows.map((row) => row.becomes).filter((label) => label !== null);
      const twice = [...new Set(taken.filter((label, index) => taken.indexOf(label) !== index))];
      for (const row of rows) {
        row.select.value = row.becomes ?? "";
        row.select.setAttribute("aria-invalid", String(twice.includes(row.becomes)));
        row.line.classList.toggle("changed", row.becomes !== row.label || row.centre !== null);
        row.moved.textContent = row.centre ? "moved" : "";
        row.move.disabled = row.becomes === null || !window.vertsegViewer.shows(holder);
        row.move.title = row.move.disabled ? "Open the viewer and set the crosshair first" : "";
      }
      const count = changes().length;
      find(".state").textContent = twice.length
        ? `${twice.map((label) => scheme.names[label]).join(", ")} would be there twice.`
        : count ? `${count} of ${rows.length} vertebrae changed.` : "Nothing changed yet.";
      find(".save").disabled = count === 0 || twice.length > 0;
      if (count) unsaved.add(holder);
      else unsaved.delete(holder);
      window.vertsegViewer.rename(holder, Object.fromEntries(rows.map((row) => [row.label, row.becomes])));
    }

    async function save() {
      const { format, scan, mask_sha256 } = start;
      const text = `${JSON.stringify({ format, scan, mask_sha256, vertebrae: changes() }, null, 2)}\n`;
      const name = `${scan}_correction.json`;
      const chosen = await writeWhereChosen(name, text);
      if (chosen === null) return;
      if (!chosen) download(name, text);
      unsaved.delete(holder);
      const place = chosen ? "Saved." : `Saved as ${name} where your browser puts downloads.`;
      find(".saved").hidden = false;
      find(".saved").replaceChildren(
        `${place} Put it into the folder of this page and run there: `,
        element("code", `vertseg apply ${name}`),
      );
    }

    for (const row of rows) addRow(row);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      save();
    });
    form.addEventListener("reset", (event) => {
      event.preventDefault(); // it would choose each list's first name
      for (const row of rows) Object.assign(row, { becomes: row.label, centre: null });
      find(".saved").hidden = true;
      refresh();
    });
    document.addEventListener("vertseg:viewer", refresh);
    return { form, refresh };
  }

  // Ask where to save a file: true once it is there, null if the reader thought better of it, false
  // where the browser cannot ask.
  async function writeWhereChosen(name, text) {
    if (!window.showSaveFilePicker) return false;
    try {
      const types = [{ description: "Correction", accept: { "application/json": [".json"] } }];
      const handle = await window.showSaveFilePicker({ suggestedName: name, types });
      const file = await handle.createWritable();
      await file.write(text);
      await file.close();
      return true;
    } catch (error) {
      return error.name === "AbortError" ? null : false;
    }
  }

  function download(name, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  window.addEventListener("beforeunload", (event) => {
    if (unsaved.size) event.preventDefault();
  });

  for (const holder of document.querySelectorAll(".viewer[data-correctable]")) {
    const button = holder.querySelector("button.correct");
    let editor = null;
    button.addEventListener("click", () => {
      if (!editor) {
        editor = createEditor(holder);
        holder.append(editor.form);
        editor.form.querySelector(".close").addEventListener("click", () => {
          editor.form.hidden = true;
          button.hidden = false;
          button.focus();
        });
      }
      editor.form.hidden = false;
      button.hidden = true;
      editor.refresh();
      editor.form.querySelector("select").focus({ preventScroll: true });
    });
  }
})();
