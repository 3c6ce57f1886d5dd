//! The PNG: the SVG, drawn with the fonts of this machine.
//!
//! Only with the feature `png`, as the renderer is large. Without any font the words would be missing: that is refused.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::{FaceInfo, Style};
use resvg::usvg::{Options, Tree};

use super::Chart;

impl Chart {
    /// The picture as PNG, with a transparent background.
    ///
    /// # Errors
    /// That there is no font here, or no memory for it.
    pub fn png(&self) -> Result<Vec<u8>, String> {
        let mut options = Options::default();
        options.fontdb_mut().load_system_fonts();
        let family = family(&options).ok_or("there is no font on this machine: install one, or use SVG")?;
        options.fontdb_mut().set_sans_serif_family(family);
        let tree = Tree::from_str(&self.svg(), &options).map_err(|e| e.to_string())?;
        let size = tree.size().to_int_size();
        let mut pixels = Pixmap::new(size.width(), size.height()).ok_or("the picture has no size")?;
        resvg::render(&tree, Transform::identity(), &mut pixels.as_mut());
        pixels.encode_png().map_err(|e| e.to_string())
    }
}

/// The plainest font there is: one without serifs, else any.
fn family(options: &Options<'_>) -> Option<String> {
    let upright = |face: &&FaceInfo| face.style == Style::Normal && !face.monospaced;
    let names = || options.fontdb.faces().filter(upright).filter_map(|face| face.families.first()).map(|(name, _)| name);
    let plain = names().filter(|name| name.contains("Sans") || *name == "Arial" || *name == "Helvetica").min();
    plain.or_else(|| names().min()).or_else(|| options.fontdb.faces().find_map(|f| f.families.first()).map(|(n, _)| n)).cloned()
}
