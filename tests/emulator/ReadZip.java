import java.io.*;
import java.nio.charset.StandardCharsets;
import java.util.zip.*;

/** Prints what ZipInputStream finds in each file named on standard input: entries, then "end" or "error". */
public class ReadZip {
    public static void main(String[] args) throws IOException {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        BufferedReader names = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String name = names.readLine(); name != null; name = names.readLine()) {
            out.println("file " + name);
            try (ZipInputStream zip = new ZipInputStream(new BufferedInputStream(new FileInputStream(name)))) {
                byte[] buffer = new byte[8192];
                for (ZipEntry entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
                    CRC32 crc = new CRC32();
                    long size = 0;
                    for (int n = zip.read(buffer); n >= 0; n = zip.read(buffer)) {
                        crc.update(buffer, 0, n);
                        size += n;
                    }
                    out.println("entry " + entry.getName() + " " + size + " " + crc.getValue());
                }
                out.println("end");
            } catch (IOException e) {
                out.println("error");
            } catch (IllegalArgumentException e) {
                out.println("unchecked");
            }
        }
    }
}
