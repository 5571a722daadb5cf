"use strict";
// The viewer: NiiVue is unpacked from the page when it is first opened; a scan's volumes come from
// the page or from a script beside it. One viewer serves all scans, since browsers limit how many
// WebGL contexts a page may hold.
(() => {
  const scheme = JSON.parse(document.getElementById("scheme").textContent);
  const START = { level: 400, width: 1800 };
  const GAP = 8;
  const arrived = new WeakMap();
  let viewer = null;

  // Called by the scripts beside the page.
  window.vertsegScan = (volumes) => arrived.set(document.currentScript, volumes);

  function volumesOf(holder) {
    const held = document.getElementById(`volumes-${holder.dataset.scan}`);
    if (held) return Promise.resolve(JSON.parse(held.textContent));
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      const file = decodeURIComponent(holder.dataset.volumes);
      script.addEventListener("load", () => {
        script.remove();
        if (arrived.has(script)) resolve(arrived.get(script));
        else reject(new Error(`${file} holds no volumes`));
      });
      script.addEventListener("error", () => {
        script.remove();
        reject(new Error(`${file} is not beside this page; keep a folder's files together`));
      });
      script.src = holder.dataset.volumes;
      document.head.append(script);
    });
  }

  function libraryOnce() {
    if (window.niivue === undefined) {
      const script = document.createElement("script");
      script.textContent = document.getElementById("niivue-library").textContent;
      document.head.append(script);
    }
    return window.niivue;
  }

  // Colours of the labels under the names that a reader gave them; those without one are clear.
  function labelColours(renamed) {
    const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
    for (const label of scheme.order) {
      const now = label in renamed ? renamed[label] : label;
      const colour = scheme.colours[now ?? label];
      const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
      table.R.push(red);
      table.G.push(green);
      table.B.push(blue);
      table.A.push(now === null ? 0 : 255);
      table.I.push(label);
      table.labels.push(scheme.names[now] ?? "");
    }
    return table;
  }

  // Places [left, top, width, height] in pixels of sagittal, coronal and axial slices of a volume
  // of `size` mm, and the width and height of all: the arrangement that shows most and leaves least
  // black, and whose axial slice is at least half as large in scale as the others.
  function arrange([x, y, z], width, tallest) {
    let best = null;
    const consider = (scale, axial, beside) => {
      const [wide, high] = [(x + y) * scale + GAP, z * scale];
      const all = beside
        ? [wide + GAP + x * axial, Math.max(high, y * axial)]
        : [Math.max(wide, x * axial), high + GAP + y * axial];
      if (all[0] > width + 0.5 || all[1] > tallest + 0.5 || axial < scale / 2) return;
      const used = (x + y) * z * scale ** 2 + x * y * axial ** 2;
      const score = used * (used / (all[0] * all[1])) ** 2;
      if (best && best.score >= score) return;
      const places = [
        [0, 0, y * scale, high],
        [y * scale + GAP, 0, x * scale, high],
        beside ? [wide + GAP, 0, x * axial, y * axial] : [0, high + GAP, x * axial, y * axial],
      ];
      best = { places, all, score };
    };
    for (let share = 1; share > 0.1; share -= 0.02) {
      const scale = share * Math.min((width - GAP) / (x + y), tallest / z);
      const rest = width - (x + y) * scale - 2 * GAP;
      if (rest > 0) consider(scale, Math.min(rest / x, Math.max(z * scale, 1) / y), true);
      const below = tallest - z * scale - GAP;
      if (below > 0) consider(scale, Math.min(((x + y) * scale + GAP) / x, below / y), false);
    }
    return best;
  }

  async function createViewer() {
    const { DRAG_MODE, Niivue, SLICE_TYPE } = libraryOnce();
    const panel = document.getElementById("panel").content.firstElementChild.cloneNode(true);
    const find = (name) => panel.querySelector(`[data-control="${name}"]`);
    const canvas = panel.querySelector("canvas");
    const readout = panel.querySelector(".readout");
    const legend = panel.querySelector(".legend");
    const nv = new Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [1, 1, 1, 0.7],
      crosshairGap: 8,
      crosshairWidth: 0.4,
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
      viewModeHotKey: "",
      dragAndDropEnabled: false,
      fontColor: [1, 1, 1, 1],
      isRadiologicalConvention: true,
      isResizeCanvas: true,
      logLevel: "error",
      multiplanarShowRender: 0, // never
      sagittalNoseLeft: true,
      showAllOrientationMarkers: false, // letters on both sides read as words across panes
    });
    nv.setMouseEventConfig({
      leftButton: { primary: DRAG_MODE.crosshair },
      rightButton: DRAG_MODE.windowing,
      centerButton: DRAG_MODE.slicer3D,
    });
    let positions = {};
    let renamed = {};
    let volumes = null;
    let start = [0.5, 0.5, 0.5];

    // The canvas has the size of what it shows.
    function layOut() {
      if (!volumes || panel.hidden) return;
      const frame = canvas.parentElement;
      frame.style.width = "100%";
      const [width, tallest] = [frame.clientWidth, Math.max(320, 0.85 * window.innerHeight)];
      const steps = [0, 1, 2].map((axis) => Math.hypot(...volumes.affine.map((row) => row[axis])));
      const size = steps.map((step, axis) => step * volumes.shape[axis]);
      const view = find("view").value;
      const shown = { SAGITTAL: [size[1], size[2]], CORONAL: [size[0], size[2]], AXIAL: [size[0], size[1]] }[view];
      if (shown) {
        const scale = Math.min(width / shown[0], tallest / shown[1]);
        resize(frame, shown[0] * scale, shown[1] * scale);
        nv.clearCustomLayout();
        nv.setSliceType(SLICE_TYPE[view]);
        return;
      }
      const { places, all } = arrange(size, width, tallest);
      resize(frame, all[0], all[1]);
      const kinds = [SLICE_TYPE.SAGITTAL, SLICE_TYPE.CORONAL, SLICE_TYPE.AXIAL];
      nv.opts.sliceType = SLICE_TYPE.MULTIPLANAR;
      nv.setCustomLayout(
        places.map(([left, top, wide, high], index) => ({
          sliceType: kinds[index],
          position: [left / all[0], top / all[1], wide / all[0], high / all[1]],
        })),
      );
    }

    function resize(frame, width, height) {
      frame.style.width = `${Math.round(width)}px`;
      frame.style.height = `${Math.round(height)}px`;
      nv.resizeListener();
    }

    function crosshairMm() {
      const voxel = volumes.shape.map((count, axis) => nv.scene.crosshairPos[axis] * count - 0.5);
      return volumes.affine.map((row) => row[3] + voxel.reduce((sum, at, axis) => sum + row[axis] * at, 0));
    }

    function rename(mapping) {
      renamed = mapping;
      nv.volumes[1].setColormapLabel(labelColours(renamed));
      nv.updateGLVolume();
      fillLegend();
      nv.createOnLocationChange();
    }

    function nameOf(label) {
      const now = label in renamed ? renamed[label] : label;
      return scheme.names[now] ?? "no vertebra";
    }

    function show(part) {
      nv.scene.crosshairPos = part;
      nv.createOnLocationChange();
      nv.drawScene();
    }

    function describe(voxel) {
      const inside = voxel.every((index, axis) => index >= 0 && index < nv.volumes[0].dims[axis + 1]);
      if (!inside) return;
      const hu = Math.round(nv.volumes[0].getValue(...voxel));
      readout.textContent = `${nameOf(nv.volumes[1].getValue(...voxel))}, ${hu} HU`;
    }

    function showWindow() {
      const { cal_min: low, cal_max: high } = nv.volumes[0];
      const now = { level: Math.round((low + high) / 2), width: Math.round(high - low) };
      for (const [name, value] of Object.entries(now)) {
        find(name).value = value;
        find(name).nextElementSibling.value = `${value} HU`;
      }
      for (const button of panel.querySelectorAll(".presets button")) {
        const same = Number(button.dataset.level) === now.level && Number(button.dataset.width) === now.width;
        button.setAttribute("aria-pressed", String(same));
      }
    }

    function setWindow(level, width) {
      nv.volumes[0].cal_min = level - width / 2;
      nv.volumes[0].cal_max = level + width / 2;
      nv.updateGLVolume();
      showWindow();
    }

    function opacity() {
      const percent = Number(find("opacity").value);
      find("opacity").nextElementSibling.value = `${percent} %`;
      return percent / 100;
    }

    function fillLegend() {
      legend.replaceChildren();
      for (const label of scheme.order.filter((one) => one in positions).sort(byPosition)) {
        if (renamed[label] === null) continue;
        const colour = scheme.colours[renamed[label] ?? label];
        const button = document.createElement("button");
        const chip = document.createElement("span");
        chip.className = "chip";
        chip.style.background = colour;
        button.type = "button";
        button.append(chip, nameOf(label));
        button.addEventListener("click", () => show(positions[label]));
        legend.append(button);
      }
    }

    function byPosition(one, other) {
      return positions[other][2] - positions[one][2];
    }

    async function load(holder) {
      const { NVImage } = libraryOnce();
      const loaded = await volumesOf(holder);
      const [ct, mask] = await Promise.all([
        NVImage.loadFromBase64({
          base64: loaded.ct,
          name: "ct.nii.gz",
          colormap: "gray",
          cal_min: START.level - START.width / 2,
          cal_max: START.level + START.width / 2,
        }),
        NVImage.loadFromBase64({ base64: loaded.mask, name: "mask.nii.gz", opacity: opacity() }),
      ]);
      volumes = { shape: loaded.shape, affine: loaded.affine };
      positions = loaded.positions;
      renamed = holder.vertsegNames ?? {};
      while (nv.volumes.length) nv.removeVolumeByIndex(0);
      mask.setColormapLabel(labelColours(renamed));
      nv.addVolume(ct);
      nv.addVolume(mask);
      nv.scene.pan2Dxyzmm = [0, 0, 0, 1];
      const heights = Object.values(positions).sort((one, other) => one[2] - other[2]);
      start = heights.length ? heights[heights.length >> 1] : [0.5, 0.5, 0.5];
      panel.setAttribute("aria-label", `Viewer of ${holder.dataset.name}`);
      canvas.setAttribute("aria-label", `CT and labels of ${holder.dataset.name}`);
      fillLegend();
      showWindow();
      layOut();
      show(start);
    }

    nv.onIntensityChange = showWindow;
    nv.onLocationChange = ({ values }) => values?.length && describe(values[0].vox.map(Math.round));
    find("view").addEventListener("change", layOut);
    find("crosshair").addEventListener("change", ({ target }) => nv.setCrosshairWidth(target.checked ? 0.4 : 0));
    window.addEventListener("resize", layOut);
    find("opacity").addEventListener("input", () => nv.setOpacity(1, opacity()));
    for (const name of ["level", "width"]) {
      find(name).addEventListener("input", () => setWindow(Number(find("level").value), Number(find("width").value)));
    }
    for (const button of panel.querySelectorAll(".presets button")) {
      button.addEventListener("click", () => setWindow(Number(button.dataset.level), Number(button.dataset.width)));
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    // On the canvas' parent: after NiiVue, which changes the window without saying so.
    canvas.parentElement.addEventListener("mousemove", (event) => {
      if (!nv.volumes.length) return;
      if (event.buttons) {
        showWindow();
        return;
      }
      const part = nv.canvasPos2frac([event.offsetX * nv.uiData.dpr, event.offsetY * nv.uiData.dpr]);
      if (part[0] >= 0) describe(Array.from(nv.frac2vox(part)));
    });
    const steps = {
      ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 0, 1], ArrowDown: [0, 0, -1],
      PageUp: [0, 1, 0], PageDown: [0, -1, 0],
    };
    canvas.addEventListener("keydown", (event) => {
      if (event.key === "Home") show(start);
      else if (event.key in steps) nv.moveCrosshairInVox(...steps[event.key]);
      else return;
      event.preventDefault();
      event.stopImmediatePropagation();
    }, { capture: true });
    return {
      panel, nv, load, rename, crosshairMm,
      close: find("close"),
      show: (label) => label in positions && show(positions[label]),
    };
  }

  async function open(holder, label) {
    const button = holder.querySelector("button.open");
    holder.querySelector(".error")?.remove();
    if (!viewer || viewer.panel.parentElement !== holder || viewer.panel.hidden) {
      button.disabled = true;
      button.textContent = "Opening …";
      await new Promise((resolve) => setTimeout(resolve, 30));
      try {
        if (!document.createElement("canvas").getContext("webgl2")) {
          throw new Error("this browser offers no WebGL 2");
        }
        const first = !viewer;
        viewer ??= await createViewer();
        close();
        button.after(viewer.panel);
        viewer.panel.hidden = false;
        if (first) {
          viewer.close.addEventListener("click", () => close(true));
          await viewer.nv.attachToCanvas(viewer.panel.querySelector("canvas"));
        }
        await viewer.load(holder);
        button.hidden = true;
        document.dispatchEvent(new CustomEvent("vertseg:viewer"));
        viewer.panel.querySelector("select").focus({ preventScroll: true });
      } catch (error) {
        console.error(error);
        const message = document.createElement("p");
        message.className = "error";
        message.textContent = `The viewer cannot be shown: ${error.message}. The label map opens in any NIfTI viewer.`;
        button.after(message);
      } finally {
        button.disabled = false;
        button.textContent = "Open the viewer";
      }
    }
    if (label !== undefined) viewer?.show(label);
    viewer?.panel.scrollIntoView({ block: "nearest" });
  }

  function close(focus = false) {
    const button = viewer?.panel.parentElement?.querySelector("button.open");
    if (!button) return;
    viewer.panel.hidden = true;
    button.hidden = false;
    document.dispatchEvent(new CustomEvent("vertseg:viewer"));
    if (focus) button.focus();
  }

  function shows(holder) {
    return viewer !== null && !viewer.panel.hidden && viewer.panel.parentElement === holder;
  }

  // For the editor of corrections.
  window.vertsegViewer = {
    shows,
    crosshairMm: () => viewer.crosshairMm(),
    rename: (holder, names) => {
      holder.vertsegNames = names;
      if (shows(holder)) viewer.rename(names);
    },
  };

  for (const button of document.querySelectorAll(".filter button")) {
    button.addEventListener("click", () => {
      for (const other of document.querySelectorAll(".filter button")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
      for (const row of document.querySelectorAll(".overview tbody tr")) {
        row.hidden = button.dataset.status !== "" && row.dataset.status !== button.dataset.status;
        document.getElementById(row.dataset.section).hidden = row.hidden;
      }
    });
  }

  for (const holder of document.querySelectorAll(".viewer[data-volumes]")) {
    holder.querySelector("button.open").addEventListener("click", () => open(holder));
    for (const level of holder.parentElement.querySelectorAll("button.level")) {
      level.addEventListener("click", () => open(holder, level.dataset.label));
    }
  }
})();
