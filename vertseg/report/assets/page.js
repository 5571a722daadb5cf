"use strict";
// The viewer: NiiVue and a scan's volumes are unpacked from the page when it is first opened. One
// viewer serves all scans, since browsers limit how many WebGL contexts a page may hold.
(() => {
  const scheme = JSON.parse(document.getElementById("scheme").textContent);
  const START = { level: 400, width: 1800 };
  let viewer = null;

  function libraryOnce() {
    if (window.niivue === undefined) {
      const script = document.createElement("script");
      script.textContent = document.getElementById("niivue-library").textContent;
      document.head.append(script);
    }
    return window.niivue;
  }

  function labelColours() {
    const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
    for (const [label, colour] of Object.entries(scheme.colours)) {
      const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
      table.R.push(red);
      table.G.push(green);
      table.B.push(blue);
      table.A.push(255);
      table.I.push(Number(label));
      table.labels.push(scheme.names[label]);
    }
    return table;
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
      showAllOrientationMarkers: true,
    });
    nv.setMouseEventConfig({
      leftButton: { primary: DRAG_MODE.crosshair },
      rightButton: DRAG_MODE.windowing,
      centerButton: DRAG_MODE.slicer3D,
    });
    let positions = {};
    let start = [0.5, 0.5, 0.5];

    function show(part) {
      nv.scene.crosshairPos = part;
      nv.createOnLocationChange();
      nv.drawScene();
    }

    function describe(voxel) {
      const inside = voxel.every((index, axis) => index >= 0 && index < nv.volumes[0].dims[axis + 1]);
      if (!inside) return;
      const hu = Math.round(nv.volumes[0].getValue(...voxel));
      const name = scheme.names[nv.volumes[1].getValue(...voxel)] ?? "no vertebra";
      readout.textContent = `${name}, ${hu} HU`;
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
      for (const [label, colour] of Object.entries(scheme.colours).sort(byPosition)) {
        if (!(label in positions)) continue;
        const button = document.createElement("button");
        const chip = document.createElement("span");
        chip.className = "chip";
        chip.style.background = colour;
        button.type = "button";
        button.append(chip, scheme.names[label]);
        button.addEventListener("click", () => show(positions[label]));
        legend.append(button);
      }
    }

    function byPosition([one], [other]) {
      return (positions[other]?.[2] ?? 0) - (positions[one]?.[2] ?? 0);
    }

    async function load(holder) {
      const { NVImage } = libraryOnce();
      const base64 = (kind) => document.getElementById(`${kind}-${holder.dataset.scan}`).textContent;
      positions = JSON.parse(holder.dataset.positions);
      const [ct, mask] = await Promise.all([
        NVImage.loadFromBase64({
          base64: base64("ct"),
          name: "ct.nii.gz",
          colormap: "gray",
          cal_min: START.level - START.width / 2,
          cal_max: START.level + START.width / 2,
        }),
        NVImage.loadFromBase64({ base64: base64("mask"), name: "mask.nii.gz", opacity: opacity() }),
      ]);
      while (nv.volumes.length) nv.removeVolumeByIndex(0);
      mask.setColormapLabel(labelColours());
      nv.addVolume(ct);
      nv.addVolume(mask);
      nv.scene.pan2Dxyzmm = [0, 0, 0, 1];
      const heights = Object.values(positions).sort((one, other) => one[2] - other[2]);
      start = heights.length ? heights[heights.length >> 1] : [0.5, 0.5, 0.5];
      panel.setAttribute("aria-label", `Viewer of ${holder.dataset.name}`);
      canvas.setAttribute("aria-label", `CT and labels of ${holder.dataset.name}`);
      fillLegend();
      showWindow();
      show(start);
    }

    nv.onIntensityChange = showWindow;
    nv.onLocationChange = ({ values }) => values?.length && describe(values[0].vox.map(Math.round));
    find("view").addEventListener("change", (event) => nv.setSliceType(SLICE_TYPE[event.target.value]));
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
    return { panel, nv, load, close: find("close"), show: (label) => label in positions && show(positions[label]) };
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
        holder.append(viewer.panel);
        viewer.panel.hidden = false;
        if (first) {
          viewer.close.addEventListener("click", () => close(true));
          await viewer.nv.attachToCanvas(viewer.panel.querySelector("canvas"));
        }
        await viewer.load(holder);
        button.hidden = true;
        viewer.panel.querySelector("select").focus({ preventScroll: true });
      } catch (error) {
        console.error(error);
        const message = document.createElement("p");
        message.className = "error";
        message.textContent = `The viewer cannot be shown: ${error.message}. The label map opens in any NIfTI viewer.`;
        holder.append(message);
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
    if (focus) button.focus();
  }

  for (const holder of document.querySelectorAll(".viewer")) {
    holder.querySelector("button.open").addEventListener("click", () => open(holder));
    for (const level of holder.parentElement.querySelectorAll("button.level")) {
      level.addEventListener("click", () => open(holder, level.dataset.label));
    }
  }
})();
